package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// qemu is an emulated machine with Debian's own kernel. Its time is counted in
// instructions: a busy host does not disturb it.
type qemu struct {
	program   string
	data      []string // directories of its firmware
	libraries string
	kernel    string   // a bootable image
	modules   []string // files of the host's, in the order in which to insert them
	self      string   // this program, static
	programs  programs
	timeout   time.Duration
}

const (
	qemuPackage   = "qemu-system-x86"
	kernelPackage = "linux-image-cloud-amd64" // names the package of the version that is current
)

// bringQemu downloads and unpacks into the cache what is not there yet: the
// emulator with the libraries that this machine lacks, and a kernel. Nothing is
// installed.
func bringQemu(ctx context.Context, at programs) (qemu, error) {
	cache, err := cacheDir()
	if err != nil {
		return qemu{}, err
	}
	emulator, kernel := filepath.Join(cache, "qemu"), filepath.Join(cache, "cloud")
	for dir, fetch := range map[string]func(context.Context, string) error{emulator: fetchQemu, kernel: fetchKernel} {
		_, err = os.Stat(dir)
		if err == nil {
			continue
		}
		err = packagesAvailable()
		if err != nil {
			return qemu{}, err
		}
		err = aside(dir, func(dir string) error { return fetch(ctx, dir) })
		if err != nil {
			return qemu{}, err
		}
	}
	q := qemu{programs: at, data: []string{filepath.Join(emulator, "usr/share/qemu"), filepath.Join(emulator, "usr/share/seabios")}}
	q.program, err = exec.LookPath("qemu-system-x86_64") // installed: then nothing was fetched
	if err != nil {
		q.program = filepath.Join(emulator, "usr/bin/qemu-system-x86_64")
	} else {
		q.data = nil
	}
	libraries, err := filepath.Glob(filepath.Join(emulator, "usr/lib/*-linux-*"))
	if err != nil {
		return qemu{}, err
	}
	more, err := filepath.Glob(filepath.Join(emulator, "lib/*-linux-*"))
	if err != nil {
		return qemu{}, err
	}
	q.libraries = strings.Join(append(libraries, more...), ":")
	q.kernel, err = only(filepath.Join(kernel, "boot/vmlinuz-*"))
	if err != nil {
		return qemu{}, err
	}
	for _, name := range []string{"drivers/net/veth.ko", "net/sched/sch_netem.ko"} {
		module, err := only(filepath.Join(kernel, "lib/modules/*/kernel", name))
		if err != nil {
			return qemu{}, err
		}
		q.modules = append(q.modules, module)
	}
	return q, nil
}

// fetchQemu brings the emulator and whatever APT would install with it. The
// packages that this machine has already are not among them.
func fetchQemu(ctx context.Context, dir string) error {
	return fetch(ctx, dir, func(debs string) error {
		return apt(ctx, debs, "install", "--download-only", "--yes", "--no-install-recommends",
			"--option", "Dir::Cache::archives="+debs, qemuPackage)
	})
}

func fetchKernel(ctx context.Context, dir string) error {
	return fetch(ctx, dir, func(debs string) error {
		depends, err := output(ctx, "", "apt-cache", "depends", "--important", kernelPackage)
		if err != nil {
			return err
		}
		_, name, found := strings.Cut(depends, "Depends: ")
		if !found {
			return fmt.Errorf("find the kernel: apt-cache says of %s only %q", kernelPackage, depends)
		}
		name, _, _ = strings.Cut(name, "\n")
		return apt(ctx, debs, "download", strings.TrimSpace(name))
	})
}

// fetch has packages downloaded into a directory and unpacks them into dir.
func fetch(ctx context.Context, dir string, get func(debs string) error) error {
	debs, err := os.MkdirTemp("", "rig-debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(debs)
	err = get(debs)
	if err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range archives {
		err = unpack(ctx, deb, dir)
		if err != nil {
			return err
		}
	}
	return nil
}

// only is the one file of a pattern.
func only(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d files are %s: remove the directory, and it is fetched anew", len(found), pattern)
	}
	return found[0], nil
}

func (q qemu) run(ctx context.Context, p plan) ([]byte, error) {
	root, err := q.root(ctx, p)
	if err != nil {
		return nil, err
	}
	return q.boot(ctx, root, planVariable+"=/plan.json")
}

// boot runs a guest whose first process is /init of root, and returns what it wrote. The
// words are its environment and, after "--", its arguments.
func (q qemu) boot(ctx context.Context, root *initramfs, words string) ([]byte, error) {
	scratch, err := os.MkdirTemp("", "rig-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	image := filepath.Join(scratch, "initramfs")
	err = os.WriteFile(image, root.archive(), 0o644)
	if err != nil {
		return nil, err
	}
	args := []string{"-accel", "tcg", "-icount", "shift=auto,sleep=off", "-cpu", "qemu64,-rdrand,-rdseed",
		"-rtc", "base=2026-11-22T06:00:00,clock=vm", "-m", "512", "-smp", "1", "-nodefaults", "-no-user-config",
		"-no-reboot", "-display", "none", "-nic", "none", "-serial", "stdio", "-kernel", q.kernel, "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1 " + words}
	for _, dir := range q.data {
		args = append(args, "-L", dir)
	}
	return guestConsole(ctx, q.timeout, []string{"LD_LIBRARY_PATH=" + q.libraries}, q.program, args...)
}

// root is what the guest finds in its memory: this program as the first process,
// the contender, ip and tc, with their libraries.
func (q qemu) root(ctx context.Context, p plan) (*initramfs, error) {
	fs := newInitramfs()
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/etc"} {
		fs.addDirectory(dir)
	}
	fs.addLink("/var/run", "/run") // where ip looks for namespaces
	fs.add("/etc/passwd", []byte("root:x:0:0::/:/bin/sh\n"))
	fs.add("/etc/group", []byte("root:x:0:\n"))
	p.Modules = nil
	for _, module := range q.modules {
		name := "/modules/" + filepath.Base(module)
		p.Modules = append(p.Modules, name)
		err := fs.addFile(name, module)
		if err != nil {
			return nil, err
		}
	}
	err := fs.addFile("/init", q.self)
	if err != nil {
		return nil, err
	}
	for _, tool := range []string{"ip", "tc"} {
		host, err := exec.LookPath(tool)
		if err != nil {
			return nil, fmt.Errorf("the guest needs %s: %w: install iproute2", tool, err)
		}
		err = q.addProgram(ctx, fs, "/bin/"+tool, host)
		if err != nil {
			return nil, err
		}
	}
	err = q.addProgram(ctx, fs, p.Contender.Argv[0], p.Contender.Argv[0])
	if err != nil {
		return nil, err
	}
	text, err := p.text()
	fs.add("/plan.json", text)
	return fs, err
}

// addProgram puts a program with the libraries that it needs, under the names by
// which it finds them.
func (q qemu) addProgram(ctx context.Context, fs *initramfs, name, host string) error {
	err := fs.addFile(name, host)
	if err != nil {
		return err
	}
	libraries, err := librariesOf(ctx, host, q.programs.libraries)
	if err != nil {
		return err
	}
	for _, library := range libraries {
		err = fs.addFile(library, library)
		if err != nil {
			return err
		}
	}
	return nil
}

// librariesOf asks the loader: no libraries where the program is static.
func librariesOf(ctx context.Context, program, path string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "ldd", program)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+path)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "not a dynamic executable") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	return absolutePaths(string(out)), nil
}

// absolutePaths picks from lines such as "libc.so.6 => /lib/libc.so.6 (0x0000)" or
// "/lib64/ld-linux-x86-64.so.2 (0x0000)" the file.
func absolutePaths(ldd string) []string {
	var paths []string
	for _, word := range strings.Fields(ldd) {
		if strings.HasPrefix(word, "/") && !slices.Contains(paths, word) {
			paths = append(paths, word)
		}
	}
	return paths
}
