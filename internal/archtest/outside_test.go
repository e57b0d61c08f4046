package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutside builds and runs a module of somebody else that embeds the public
// packages: what they export must be usable without anything internal.
func TestOutside(t *testing.T) {
	root, dir := moduleRoot(t), t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) []byte {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	// It needs what we need, at the same versions, so that nothing is downloaded.
	mod, found := strings.CutPrefix(string(read(filepath.Join(root, "go.mod"))), "module "+module+"\n")
	if !found {
		t.Fatalf("go.mod does not begin with module %s", module)
	}
	write("go.mod", []byte("module example.org/outside\n"+mod+
		"\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+root+"\n"))
	write("go.sum", read(filepath.Join(root, "go.sum")))
	source := read(filepath.Join("testdata", "outside", "main.go"))
	write("main.go", source)
	for _, public := range publicDirs() {
		_, err := os.Stat(filepath.Join(root, public))
		if err == nil && !strings.Contains(string(source), `"`+module+"/"+public+`"`) {
			t.Errorf("the program does not use %s", public)
		}
	}

	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	run("go", "vet", "./...")
	run("go", "build", "-o", "outside", ".")
	run(filepath.Join(dir, "outside"), filepath.Join(dir, "data"))
}
