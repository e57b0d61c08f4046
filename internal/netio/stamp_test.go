package netio

import (
	"go/build"
	"slices"
	"testing"
)

// TestStampsWhereTheyCanBeHad: on Linux stamps are read by the package itself, where the
// library compiles by the library, and elsewhere the package has to do without.
func TestStampsWhereTheyCanBeHad(t *testing.T) {
	files := []string{"client_linux.go", "stamp_unix.go", "stamp_other.go"}
	for system, want := range map[string]string{
		"linux": "client_linux.go", "android": "client_linux.go",
		"darwin": "stamp_unix.go", "ios": "stamp_unix.go", "freebsd": "stamp_unix.go",
		"aix": "stamp_other.go", "dragonfly": "stamp_other.go", "illumos": "stamp_other.go", "netbsd": "stamp_other.go",
		"openbsd": "stamp_other.go", "solaris": "stamp_other.go", "windows": "stamp_other.go",
	} {
		context := build.Default
		context.GOOS, context.GOARCH, context.CgoEnabled = system, "amd64", false
		p, err := context.ImportDir(".", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if got := slices.Contains(p.GoFiles, file); got != (file == want) {
				t.Errorf("%s: %s is part of it: %v", system, file, got)
			}
		}
		library := slices.Contains(p.Imports, "github.com/facebook/time/timestamp")
		if library != (want == "stamp_unix.go") {
			t.Errorf("%s: imports the library: %v", system, library)
		}
	}
}
