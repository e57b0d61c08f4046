package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// cacheDir is where all that is downloaded and built stays.
func cacheDir() (string, error) {
	root, err := repository()
	return filepath.Join(root, ".cache", "rig"), err
}

// repository is the root of the tree that the working directory is in.
func repository() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the tree: %w: run rig inside of it", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// output runs a program in dir to its end and returns what it printed.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "CGO_ENABLED=0")
	var says strings.Builder
	cmd.Stderr = &says
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, tail(says.String()), tail(string(out)))
	}
	return string(out), nil
}

// tail is the end of what a program printed.
func tail(s string) string {
	const most = 2000
	if len(s) > most {
		return "..." + s[len(s)-most:]
	}
	return s
}

// errNoPackages reports a machine on which Debian's packages cannot be had.
var errNoPackages = errors.New("only root on Debian can have its packages")

func packagesAvailable() error {
	for _, name := range []string{"apt-get", "dpkg"} {
		_, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoPackages, err)
		}
	}
	if os.Geteuid() != 0 {
		return errNoPackages
	}
	return nil
}

// apt runs apt-get in dir; when it fails it tries once more with fresh lists.
// APT's own user cannot write into a directory of root's, so root does it all.
func apt(ctx context.Context, dir string, args ...string) error {
	run := func(args ...string) error {
		_, err := output(ctx, dir, "apt-get", append([]string{"--quiet", "--option", "APT::Sandbox::User=root"}, args...)...)
		return err
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

// download brings a package into dir and returns its file.
func download(ctx context.Context, dir, name string) (string, error) {
	have, err := archive(dir, name)
	if err != nil || have != "" {
		return have, err
	}
	err = apt(ctx, dir, "download", name)
	if err != nil {
		return "", err
	}
	have, err = archive(dir, name)
	if err == nil && have == "" {
		err = fmt.Errorf("download %s: apt-get left no file", name)
	}
	return have, err
}

func archive(dir, name string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[len(found)-1], nil
}

// unpack unpacks a package, without installing it.
func unpack(ctx context.Context, deb, dir string) error {
	_, err := output(ctx, "", "dpkg", "--extract", deb, dir)
	return err
}

// aside builds a directory beside dir and moves it into place when it is whole.
func aside(dir string, build func(string) error) error {
	err := os.MkdirAll(filepath.Dir(dir), 0o755)
	if err != nil {
		return err
	}
	beside, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+"-new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(beside)
	err = build(beside)
	if err != nil {
		return err
	}
	err = os.RemoveAll(dir)
	if err != nil {
		return err
	}
	return os.Rename(beside, dir)
}
