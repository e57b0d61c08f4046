package netio

import (
	"go/build"
	"slices"
	"testing"
)

// TestStampsWhereTheLibraryCompiles: on other systems the package has to do without it.
func TestStampsWhereTheLibraryCompiles(t *testing.T) {
	for system, want := range map[string]bool{
		"linux": true, "android": true, "darwin": true, "ios": true, "freebsd": true,
		"aix": false, "dragonfly": false, "illumos": false, "netbsd": false, "openbsd": false, "solaris": false, "windows": false,
	} {
		context := build.Default
		context.GOOS, context.GOARCH, context.CgoEnabled = system, "amd64", false
		p, err := context.ImportDir(".", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(p.Imports, "github.com/facebook/time/timestamp"); got != want {
			t.Errorf("%s: imported: %v", system, got)
		}
		if other := slices.Contains(p.GoFiles, "stamp_other.go"); other == want {
			t.Errorf("%s: done without: %v", system, other)
		}
	}
}
