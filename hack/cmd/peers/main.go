// Command peers brings what the tests need and this machine lacks: the stock NTP
// programs that ours is tried against, Prometheus's promtool, and a few harmless tools.
//
//	go run ./hack/cmd/peers DIR
//
// The NTP programs and promtool are downloaded from Debian's packages and unpacked into DIR,
// never installed: installing starts services that would steer the clock. Each
// has a wrapper in DIR/bin. The tools are installed. Both need root; without, the
// command says what is left out, and fails.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tool is a program or file that the tests need, from a package without any service.
type tool struct {
	path     string // a file, or a name to look for in PATH
	packages []string
	use      string
}

func tools() []tool {
	return []tool{
		{"ip", []string{"iproute2"}, "network namespaces"},
		{"unshare", []string{"util-linux"}, "network namespaces"},
		{"curl", []string{"curl"}, "the README's tour and the recipes of docs/api.md"},
		{"/usr/bin/python3", []string{"python3"}, "ntpdig and the example in Python"},
		{"/etc/services", []string{"netbase"}, "rdate"},
		{"gcc", []string{"gcc", "libc6-dev"}, "the race detector"},
		{"chromium", []string{"chromium", "fonts-dejavu-core"}, "the dashboard in a browser"},
	}
}

// peer is a program in DIR/bin, and what shows that it starts.
type peer struct {
	program string
	args    []string
	says    string
}

func peers() []peer {
	return []peer{
		{"usr/sbin/chronyd", []string{"--version"}, "chronyd (chrony) version"},
		{"usr/bin/chronyc", []string{"--version"}, "chronyc (chrony) version"},
		{"usr/bin/ntpdig", []string{"--version"}, "ntpdig ntpsec"},
		{"usr/sbin/rdate", nil, "Usage: rdate"},
		{"usr/bin/promtool", []string{"--version"}, "promtool, version"},
	}
}

// peerPackages are the packages that peers are in; their libraries follow.
func peerPackages() []string { return []string{"chrony", "ntpsec-ntpdig", "rdate", "prometheus"} }

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: peers DIR")
		os.Exit(2)
	}
	err := bring(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "peers: %v\n", err)
		os.Exit(1)
	}
}

func bring(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	lacking := missingTools()
	broken := check(dir)
	if lacking == nil && broken == nil {
		return nil
	}
	_, err = exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return leftOut(lacking, broken)
	}
	if lacking != nil {
		err = install(lacking)
		if err != nil {
			return err
		}
	}
	if broken != nil {
		err = unpack(dir)
	}
	return err
}

// leftOut says what cannot be brought, and what is therefore not tested.
func leftOut(lacking []tool, broken error) error {
	var parts []string
	for _, t := range lacking {
		parts = append(parts, fmt.Sprintf("%s (for %s)", strings.Join(t.packages, " and "), t.use))
	}
	if broken != nil {
		parts = append(parts, "the NTP programs that ours is tried against, and promtool")
	}
	return fmt.Errorf("these can be had by root on Debian only, so what needs them is left out: %s", strings.Join(parts, "; "))
}

func missingTools() []tool {
	var missing []tool
	for _, t := range tools() {
		_, err := os.Stat(t.path)
		if !filepath.IsAbs(t.path) {
			_, err = exec.LookPath(t.path)
		}
		if err != nil {
			missing = append(missing, t)
		}
	}
	return missing
}

func install(lacking []tool) error {
	args := []string{"install", "--yes", "--no-install-recommends"}
	for _, t := range lacking {
		args = append(args, t.packages...)
	}
	fmt.Println("peers: apt-get", strings.Join(args, " "))
	return aptGet("", args...)
}

// aptGet runs apt-get in dir; when it fails it tries once more with fresh lists.
// APT's own user cannot write into a directory of root's, so root does it all.
func aptGet(dir string, args ...string) error {
	run := func(args ...string) error {
		cmd := exec.Command("apt-get", append([]string{"--quiet", "--option", "APT::Sandbox::User=root"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	first := run(args...)
	if first == nil {
		return nil
	}
	err := run("update")
	if err != nil {
		return errors.Join(first, err)
	}
	return run(args...)
}

// unpack builds DIR aside and moves it into place when every peer starts, so that
// DIR is whole or not there.
func unpack(dir string) error {
	fmt.Println("peers: unpacking", strings.Join(peerPackages(), ", "), "into", filepath.Base(dir), "(nothing is installed)")
	err := os.MkdirAll(filepath.Dir(dir), 0o755)
	if err != nil {
		return err
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), "peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	for _, step := range []func(string) error{os.RemoveAll, fetch, linkNTPLibrary, wrap, check} {
		err = step(aside)
		if err != nil {
			return err
		}
	}
	err = os.RemoveAll(dir)
	if err != nil {
		return err
	}
	return os.Rename(aside, dir)
}

// fetch downloads and unpacks the packages, and those that they depend on and
// that the machine lacks.
func fetch(dir string) error {
	debs := filepath.Join(dir, "debs")
	err := os.MkdirAll(debs, 0o755)
	if err != nil {
		return err
	}
	var have []string
	for want := peerPackages(); len(want) > 0; {
		err = aptGet(debs, append([]string{"download"}, want...)...)
		if err != nil {
			return err
		}
		have = append(have, want...)
		want, err = followUp(debs, have)
		if err != nil {
			return err
		}
	}
	archives, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range archives {
		out, err := exec.Command("dpkg", "--extract", deb, dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", filepath.Base(deb), err, out)
		}
	}
	return os.RemoveAll(debs)
}

// followUp lists the packages that those in debs need besides have.
func followUp(debs string, have []string) ([]string, error) {
	archives, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return nil, err
	}
	var want []string
	for _, deb := range archives {
		field, err := exec.Command("dpkg-deb", "--field", deb, "Depends").Output()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Base(deb), err)
		}
		for _, name := range needed(string(field)) {
			if !slices.Contains(have, name) && !slices.Contains(want, name) && !installed(name) {
				want = append(want, name)
			}
		}
	}
	return want, nil
}

// needed lists the packages of a Depends field that an unpacked program needs to
// start: libraries, but for those of browsers, and Python modules. Of alternatives it takes the
// first. The C library is always there, and must be the machine's own.
func needed(depends string) []string {
	var names []string
	for item := range strings.SplitSeq(depends, ",") {
		fields := strings.Fields(item)
		if len(fields) == 0 {
			continue
		}
		name, _, _ := strings.Cut(fields[0], ":") // python3:any
		wanted := strings.HasPrefix(name, "lib") && !strings.HasPrefix(name, "libjs-") || strings.HasPrefix(name, "python3-")
		if wanted && name != "libc6" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func installed(name string) bool {
	out, err := exec.Command("dpkg-query", "--show", "--showformat=${Status}", name).Output()
	return err == nil && string(out) == "install ok installed"
}

// linkNTPLibrary puts the library of the Python module ntp beside it, which is
// where the module looks first.
func linkNTPLibrary(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "usr/lib/*/ntp/libntpc.so*"))
	if err != nil || len(found) == 0 {
		return err // a later version has it built in
	}
	link := filepath.Join(dir, "usr/lib/python3/dist-packages/ntp/libntpc.so")
	target, err := filepath.Rel(filepath.Dir(link), found[0])
	if err != nil {
		return err
	}
	return os.Symlink(target, link)
}

// wrapper starts the program from where it was unpacked, with the libraries that
// were unpacked with it. The directory is found from the wrapper's own place.
const wrapper = `#!/bin/sh
peers=$(cd "$(dirname "$0")/.." && pwd)
for lib in "$peers"/usr/lib/*-linux-* "$peers"/lib/*-linux-*; do
	LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$lib
done
export LD_LIBRARY_PATH
export PYTHONPATH="$peers/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1
exec "$peers/%s" "$@"
`

func wrap(dir string) error {
	bin := filepath.Join(dir, "bin")
	err := os.MkdirAll(bin, 0o755)
	if err != nil {
		return err
	}
	for _, p := range peers() {
		err = os.WriteFile(filepath.Join(bin, filepath.Base(p.program)), fmt.Appendf(nil, wrapper, p.program), 0o755)
		if err != nil {
			return err
		}
	}
	return nil
}

// check starts every peer.
func check(dir string) error {
	for _, p := range peers() {
		out, err := exec.Command(filepath.Join(dir, "bin", filepath.Base(p.program)), p.args...).CombinedOutput()
		if !strings.Contains(string(out), p.says) {
			return fmt.Errorf("%s does not start: %w\n%s", filepath.Base(p.program), err, out)
		}
	}
	return nil
}
