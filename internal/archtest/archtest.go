// Package archtest holds the rules of the architecture that a machine can check:
// which package may import which, what the pure packages must not touch, what
// public packages must not show, and a few house rules. They change only together
// with ARCHITECTURE.md.
//
// Check is a pure function of a file tree, so that each rule is tested with a
// planted violation; one test applies it to the real tree.
package archtest

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// module is the path of the module that the rules are about.
const module = "github.com/truechimer/truechimer"

// Violation is one place that breaks a rule.
type Violation struct {
	File string // path in the tree, with slashes
	Line int    // 0 where the whole file is at fault
	Rule string
	Text string
}

// String is the violation as a compiler would print it.
func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s (rule %q)", v.File, v.Line, v.Text, v.Rule)
}

// level is the row of one package in the table of levels.
type level struct {
	dir   string // "x/..." is x and everything below it
	level int
	pure  bool // decides and touches nothing
}

// levels is the layout. A package imports only its own level and lower ones.
func levels() []level {
	return []level{
		{dir: "cmd/truechimer", level: 4},
		{dir: "internal/daemon", level: 4},
		{dir: "internal/archtest", level: 4},
		{dir: "hack/...", level: 4},
		{dir: "contrib", level: 4},

		{dir: "internal/api", level: 3},
		{dir: "internal/web", level: 3},
		{dir: "internal/config", level: 3},
		{dir: "internal/sim", level: 3},
		{dir: "internal/demo", level: 3},

		{dir: "internal/compliance", level: 2},
		{dir: "internal/alert", level: 2},
		{dir: "internal/fleet", level: 2},
		{dir: "internal/history", level: 2},
		{dir: "internal/report", level: 2},
		{dir: "internal/cluster", level: 2},
		{dir: "internal/upstream", level: 2},
		{dir: "internal/load", level: 2},
		{dir: "ntpserver", level: 2},
		{dir: "hlc/client", level: 2},
		{dir: "hlc/client/grpctime", level: 2},

		{dir: "internal/netio", level: 1},
		{dir: "internal/sysclock", level: 1},
		{dir: "store", level: 1},

		{dir: "internal/rpc/...", level: 0},
		{dir: "internal/clock", level: 0, pure: true},
		{dir: "internal/leap", level: 0, pure: true},
		{dir: "internal/ntp", level: 0, pure: true},
		{dir: "internal/discipline", level: 0, pure: true},
		{dir: "hlc", level: 0, pure: true},
	}
}

// publicDirs are the packages that others embed.
func publicDirs() []string {
	return []string{"hlc", "hlc/client", "hlc/client/grpctime", "ntpserver", "store"}
}

// cmdImports are the packages of ours that a command may use: it has no logic.
func cmdImports() []string {
	return []string{"internal/daemon", "internal/config", "internal/upstream", "internal/load", "internal/demo", "internal/rpc/...", "hlc", "hlc/client"}
}

// levelOf finds a directory in the table.
func levelOf(dir string) (level, bool) {
	all := levels()
	i := slices.IndexFunc(all, func(l level) bool { return matches(l.dir, dir) })
	if i < 0 {
		return level{}, false
	}
	return all[i], true
}

// matches reports whether dir is what pattern names.
func matches(pattern, dir string) bool {
	above, deep := strings.CutSuffix(pattern, "/...")
	return dir == above || deep && strings.HasPrefix(dir, above+"/")
}

// file is one Go file, parsed.
type file struct {
	name string // path in the tree
	dir  string
	fset *token.FileSet
	tree *ast.File
}

// Check applies every rule to the tree of the module and returns what breaks
// them, sorted by place.
func Check(tree fs.FS) ([]Violation, error) {
	var found []Violation
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && foreignDir(name):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		more, err := checkFile(tree, name)
		found = append(found, more...)
		return err
	})
	slices.SortFunc(found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	return found, err
}

// foreignDir reports whether the directory holds nothing of ours: what git and
// the tools of hack/ keep, and the data of an appliance that was tried here.
func foreignDir(name string) bool {
	return slices.Contains([]string{".git", ".cache", "data"}, name)
}

func checkFile(tree fs.FS, name string) ([]Violation, error) {
	src, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	found := checkText(name, src)
	if path.Ext(name) != ".go" || inTestdata(name) {
		return found, nil
	}
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := file{name: name, dir: path.Dir(name), fset: fset, tree: parsed}
	found = append(found, checkPackage(f)...)
	if strings.HasSuffix(name, "_test.go") || ast.IsGenerated(parsed) {
		return found, nil
	}
	found = append(found, checkImports(f)...)
	found = append(found, checkHouse(f)...)
	if l, _ := levelOf(f.dir); l.pure {
		found = append(found, checkPure(f)...)
	}
	if slices.Contains(publicDirs(), f.dir) {
		found = append(found, checkSurface(f)...)
	}
	return found, nil
}

func inTestdata(name string) bool {
	return slices.Contains(strings.Split(path.Dir(name), "/"), "testdata")
}

func (f file) violation(at ast.Node, rule, format string, args ...any) Violation {
	return Violation{File: f.name, Line: f.fset.Position(at.Pos()).Line, Rule: rule, Text: fmt.Sprintf(format, args...)}
}

// machinePaths are directories of the machine that a file was written on.
func machinePaths() []string {
	var paths []string
	for _, dir := range []string{"root", "work", "home"} {
		paths = append(paths, "/"+dir+"/")
	}
	return paths
}

// checkText looks at any file, Go or not.
func checkText(name string, src []byte) []Violation {
	if bytes.IndexByte(src, 0) >= 0 {
		return nil // a binary
	}
	var found []Violation
	for i, line := range bytes.Split(src, []byte{'\n'}) {
		for _, p := range machinePaths() {
			if beginsWord(line, p) {
				found = append(found, Violation{File: name, Line: i + 1, Rule: "machine path",
					Text: fmt.Sprintf("%s... exists on one machine only", p)})
			}
		}
	}
	return found
}

// beginsWord reports whether the path p occurs in line, and not as the end of a
// longer one.
func beginsWord(line []byte, p string) bool {
	for at := 0; ; {
		i := bytes.Index(line[at:], []byte(p))
		if i < 0 {
			return false
		}
		at += i
		if at == 0 || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-~})$", rune(line[at-1])) {
			return true
		}
		at++
	}
}
