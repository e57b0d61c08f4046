package archtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTree applies every rule to the tree that this test is part of.
func TestTree(t *testing.T) {
	found, err := Check(os.DirFS(moduleRoot(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// moduleRoot is the directory, here or above, that has the go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this test")
		}
		dir = filepath.Dir(dir)
	}
}

const ours = `import "` + module + `/`

// TestPlanted plants violations of every rule, one in each case, and what looks
// like one but is none.
func TestPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		file, src string
		want      string // the one violation; empty: none
	}{
		"clean": {"hlc/x.go", "package hlc\nimport \"time\"\nfunc F(t time.Time) time.Time { return t.Add(time.Second) }", ""},

		"no row":          {"internal/util2/x.go", "package util2", `x.go:1: package internal/util2 has no row`},
		"no row, test":    {"store/deep/x_test.go", "package deep", `package store/deep has no row`},
		"imports no row":  {"internal/daemon/x.go", "package daemon\n" + ours + `internal/nothing"`, `x.go:2: imports internal/nothing, which has no row`},
		"named nothing":   {"hack/common/x.go", "package common", `package hack/common is named after nothing`},
		"one level up":    {"store/x.go", "package store\n" + ours + `ntpserver"`, `store (level 1) imports ntpserver (level 2)`},
		"up from level 0": {"internal/rpc/x.go", "package rpc\n" + ours + `store"`, `internal/rpc (level 0) imports store (level 1)`},
		"up, by alias":    {"internal/config/x.go", "package config\nimport d \"" + module + `/internal/daemon"`, `internal/config (level 3) imports internal/daemon (level 4)`},
		"same level":      {"internal/netio/x.go", "package netio\n" + ours + `internal/sysclock"`, ""},
		"up in a test":    {"store/x_test.go", "package store\n" + ours + `internal/sim"`, ""},
		"below a row":     {"internal/rpc/rpcconnect/x.go", "package rpcconnect\n" + ours + `internal/rpc"`, ""},
		"dot import":      {"store/x.go", "package store\nimport . \"time\"", `dot import`},

		"command with logic":  {"cmd/truechimer/x.go", "package main\n" + ours + `store"`, `a command imports store`},
		"command, as it may":  {"cmd/truechimer/x.go", "package main\n" + ours + `internal/rpc/rpcconnect"`, ""},
		"command and its own": {"cmd/truechimer/x.go", "package main\n" + ours + `hlc"`, ""},

		"net":           {"internal/ntp/x.go", "package ntp\nimport \"net\"", `pure package internal/ntp imports net`},
		"net/http":      {"internal/ntp/x.go", "package ntp\nimport \"net/http\"", `imports net/http`},
		"net/netip":     {"internal/ntp/x.go", "package ntp\nimport \"net/netip\"", ""},
		"os":            {"internal/clock/x.go", "package clock\nimport \"os\"", `imports os`},
		"os/exec":       {"internal/clock/x.go", "package clock\nimport \"os/exec\"", `imports os/exec`},
		"log":           {"hlc/x.go", "package hlc\nimport \"log\"", `imports log`},
		"log/slog":      {"hlc/x.go", "package hlc\nimport \"log/slog\"", `imports log/slog`},
		"math/rand":     {"internal/discipline/x.go", "package discipline\nimport \"math/rand\"", `imports math/rand`},
		"math/rand/v2":  {"internal/discipline/x.go", "package discipline\nimport \"math/rand/v2\"", `imports math/rand/v2`},
		"crypto/rand":   {"hlc/x.go", "package hlc\nimport \"crypto/rand\"", `imports crypto/rand`},
		"syscall":       {"hlc/x.go", "package hlc\nimport \"syscall\"", `imports syscall`},
		"x/sys":         {"internal/ntp/x.go", "package ntp\nimport \"golang.org/x/sys/unix\"", `imports golang.org/x/sys/unix`},
		"a dependency":  {"hlc/x.go", "package hlc\nimport \"github.com/x/y\"", `of which nobody knows`},
		"impure of us":  {"hlc/x.go", "package hlc\n" + ours + `internal/rpc"`, `which is not pure`},
		"pure of us":    {"internal/ntp/x.go", "package ntp\n" + ours + `internal/clock"`, ""},
		"math":          {"internal/ntp/x.go", "package ntp\nimport \"math/bits\"", ""},
		"rand in test":  {"hlc/x_test.go", "package hlc\nimport \"math/rand/v2\"", ""},
		"below is not":  {"hlc/client/x.go", "package client\nimport \"net\"", ""},
		"time.Now":      {"internal/ntp/x.go", "package ntp\nimport \"time\"\nvar x = 1 + time.Now().Unix()", `x.go:3: pure package internal/ntp uses time.Now`},
		"Now, no call":  {"internal/ntp/x.go", "package ntp\nimport \"time\"\nvar now = time.Now", `uses time.Now`},
		"Now, by alias": {"internal/ntp/x.go", "package ntp\nimport t \"time\"\nvar now = t.Now", `uses time.Now`},
		"Now of others": {"hlc/x.go", "package hlc\ntype time struct{}\nfunc (time) Now() {}\nfunc f(time time) { time.Now() }", ""},
		"time.After":    {"hlc/x.go", "package hlc\nimport \"time\"\nfunc f() { <-time.After(1) }", `uses time.After`},
		"a sleep":       {"hlc/x.go", "package hlc\nimport \"time\"\nfunc f() { time.Sleep(1) }", `uses time.Sleep`},
		"a timer":       {"hlc/x.go", "package hlc\nimport \"time\"\nfunc f() { time.NewTimer(1) }", `uses time.NewTimer`},
		"a deadline":    {"hlc/x.go", "package hlc\nimport \"context\"\nvar f = context.WithTimeout", `uses context.WithTimeout`},
		"the exception": {"hlc/physical.go", "package hlc\nimport \"time\"\nvar a, b = time.Now, time.Since", ""},
		"its end":       {"hlc/physical.go", "package hlc\nimport \"time\"\nvar a = time.Sleep", `uses time.Sleep`},
		"not elsewhere": {"internal/clock/physical.go", "package clock\nimport \"time\"\nvar a = time.Now", `uses time.Now`},
		"a goroutine":   {"hlc/x.go", "package hlc\nfunc f() { go f() }", `starts a goroutine`},
		"linkname":      {"hlc/x.go", "package hlc\n//go:linkname nanotime runtime.nanotime\nfunc nanotime() int64", `by linkname`},

		"init":             {"store/x.go", "package store\nfunc init() {}", `nothing may happen`},
		"a method init":    {"store/x.go", "package store\ntype T int\nfunc (T) init() {}", ""},
		"exit":             {"internal/daemon/x.go", "package daemon\nimport \"os\"\nfunc f() { os.Exit(1) }", `os.Exit: only main exits`},
		"exit of a helper": {"cmd/truechimer/x.go", "package main\nimport \"os\"\nfunc f() { os.Exit(1) }", `os.Exit: only main exits`},
		"exit of main":     {"cmd/truechimer/x.go", "package main\nimport \"os\"\nfunc main() { os.Exit(1) }", ""},
		"fatal":            {"store/x.go", "package store\nimport \"log\"\nfunc f() { log.Fatalf(``) }", `log.Fatalf`},
		"panic":            {"store/x.go", "package store\nfunc f() { panic(1) }", `panic without a comment`},
		"said invariant":   {"store/x.go", "package store\nfunc f() {\n\t// Invariant H6: it only rises.\n\tpanic(1)\n}", ""},
		"said on its line": {"store/x.go", "package store\nfunc f() {\n\tpanic(1) // invariant: H6\n}", ""},
		"said elsewhere":   {"store/x.go", "package store\nfunc f() {\n\t// Invariant H6.\n\n\tpanic(1)\n}", `panic without a comment`},
		"generated":        {"internal/rpc/x.go", "// Code generated by x. DO NOT EDIT.\n\npackage rpc\nfunc init() {}", ""},

		"shown result":      {"ntpserver/x.go", "package ntpserver\n" + ours + "internal/clock\"\nfunc F() *clock.Snapshot { return nil }", `F shows Snapshot of internal/clock`},
		"shown argument":    {"store/x.go", "package store\n" + ours + "internal/clock\"\nfunc F(f func([]clock.Snapshot)) {}", `F shows Snapshot`},
		"shown method":      {"store/x.go", "package store\n" + ours + "internal/clock\"\ntype T int\nfunc (*T) F(clock.Snapshot) {}", `F shows Snapshot`},
		"shown, generic":    {"store/x.go", "package store\n" + ours + "internal/clock\"\ntype T[X clock.Snapshot] int", `T shows Snapshot`},
		"shown field":       {"store/x.go", "package store\n" + ours + "internal/clock\"\ntype T struct{ F map[string]clock.Snapshot }", `T shows Snapshot`},
		"shown embedded":    {"store/x.go", "package store\n" + ours + "internal/clock\"\ntype T struct{ *clock.Snapshot }", `T shows Snapshot`},
		"shown interface":   {"store/x.go", "package store\n" + ours + "internal/clock\"\ntype T interface{ F() clock.Snapshot }", `T shows Snapshot`},
		"shown alias":       {"store/x.go", "package store\n" + ours + "internal/clock\"\ntype T = clock.Snapshot", `T shows Snapshot`},
		"shown variable":    {"store/x.go", "package store\n" + ours + "internal/clock\"\nvar V clock.Snapshot", `V shows Snapshot`},
		"shown by literal":  {"store/x.go", "package store\n" + ours + "internal/clock\"\nvar V = &clock.Snapshot{}", `V shows Snapshot`},
		"shown by call":     {"store/x.go", "package store\n" + ours + "internal/clock\"\nvar V = clock.New()", `V shows New`},
		"shown by function": {"store/x.go", "package store\n" + ours + "internal/clock\"\nvar V = func(clock.Snapshot) {}", `V shows Snapshot`},
		"shown by value":    {"store/x.go", "package store\n" + ours + "internal/clock\"\nconst V = clock.Holdover", `V shows Holdover`},
		"an error":          {"store/x.go", "package store\n" + ours + "internal/clock\"\nvar ErrX = clock.ErrX", ""},
		"shown by alias":    {"store/x.go", "package store\nimport c \"" + module + "/internal/clock\"\nfunc F(c.Snapshot) {}", `F shows Snapshot`},
		"hidden function":   {"store/x.go", "package store\n" + ours + "internal/clock\"\nfunc f(clock.Snapshot) {}", ""},
		"hidden receiver":   {"store/x.go", "package store\n" + ours + "internal/clock\"\ntype t int\nfunc (t) F(clock.Snapshot) {}", ""},
		"hidden field":      {"store/x.go", "package store\n" + ours + "internal/clock\"\ntype T struct{ f clock.Snapshot }", ""},
		"hidden body":       {"store/x.go", "package store\n" + ours + "internal/clock\"\nfunc F() { clock.New() }", ""},
		"public of ours":    {"store/x.go", "package store\n" + ours + "hlc\"\nfunc F() hlc.Timestamp { return 0 }", ""},
		"not public at all": {"internal/netio/x.go", "package netio\n" + ours + "internal/clock\"\nfunc F(clock.Snapshot) {}", ""},

		"machine path":         {"README.md", "a\nsee " + "/ro" + "ot/x", `README.md:2: `},
		"machine path, code":   {"store/x.go", "package store\nconst x = \"/wo" + "rk/x\"", `exists on one machine only`},
		"machine path, dotted": {".ci/run", "cd /ho" + "me/x", `exists on one machine only`},
		"part of a longer one": {"README.md", "x/wo" + "rk/y", ""},
		"both":                 {"README.md", "x/wo" + "rk/y /wo" + "rk/z", `exists on one machine only`},
		"a binary":             {"truechimer", "\x00/ro" + "ot/x", ""},
		"a cache":              {".cache/x", "/ro" + "ot/x", ""},
		"testdata":             {"store/testdata/x.go", "package util", ""},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := Check(fstest.MapFS{c.file: {Data: []byte(c.src)}})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(found) > 0:
				t.Errorf("violations of nothing: %v", found)
			case c.want != "" && (len(found) != 1 || !strings.Contains(found[0].String(), c.want)):
				t.Errorf("got %v\nwant one: %s", found, c.want)
			}
		})
	}
}

func TestCheckReportsWhatItCannotParse(t *testing.T) {
	_, err := Check(fstest.MapFS{"store/x.go": {Data: []byte("package")}})
	if err == nil {
		t.Error("a file that is not Go passed")
	}
}

// TestPublicRows ties the lists to the table.
func TestPublicRows(t *testing.T) {
	for _, dir := range publicDirs() {
		if _, ok := levelOf(dir); !ok {
			t.Errorf("public package %s has no row", dir)
		}
	}
	for _, dir := range cmdImports() {
		if _, ok := levelOf(strings.TrimSuffix(dir, "/...")); !ok {
			t.Errorf("%s has no row", dir)
		}
	}
}
