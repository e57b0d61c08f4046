package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// umlConfig is what the kernel is made of, on top of allnoconfig.
//
//go:embed uml.config
var umlConfig []byte

const kernelSource = "linux-source-6.1"

// buildKernel returns the user-mode kernel, which it builds from Debian's source
// where the cache has none of this version and configuration: some five minutes
// of one processor.
func buildKernel(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	version, err := sourceVersion(ctx)
	if err != nil { // without APT's lists: whatever was built last
		return newestKernel(cache, err)
	}
	digest := sha256.Sum256(umlConfig)
	kernel := filepath.Join(cache, fmt.Sprintf("linux-uml-%s-%.4x", version, digest))
	_, err = os.Stat(kernel)
	if err == nil {
		return kernel, nil
	}
	err = kernelTools(ctx, progress)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(progress, "rig: building the user-mode kernel from %s %s: some minutes, once\n", kernelSource, version)
	scratch, err := os.MkdirTemp("", "rig-kernel-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	return kernel, makeKernel(ctx, cache, scratch, kernel)
}

// makeKernel keeps the package in the cache, everything between it and the kernel
// in scratch.
func makeKernel(ctx context.Context, cache, scratch, kernel string) error {
	err := os.MkdirAll(cache, 0o755)
	if err != nil {
		return err
	}
	deb, err := download(ctx, cache, kernelSource)
	if err != nil {
		return err
	}
	err = unpack(ctx, deb, scratch)
	if err != nil {
		return err
	}
	_, err = output(ctx, scratch, "tar", "--extract", "--file", filepath.Join("usr/src", kernelSource+".tar.xz"))
	if err != nil {
		return err
	}
	fragment := filepath.Join(scratch, "fragment")
	err = os.WriteFile(fragment, umlConfig, 0o644)
	if err != nil {
		return err
	}
	tree := filepath.Join(scratch, kernelSource)
	_, err = output(ctx, tree, "make", "ARCH=um", "KCONFIG_ALLCONFIG="+fragment, "allnoconfig")
	if err != nil {
		return err
	}
	_, err = output(ctx, tree, "nice", "make", "ARCH=um", "-j2")
	if err != nil {
		return err
	}
	built := filepath.Join(tree, "linux")
	_, err = output(ctx, "", "cp", built, kernel+".new") // perhaps on another file system
	if err != nil {
		return err
	}
	return os.Rename(kernel+".new", kernel)
}

// sourceVersion is the version of the source that Debian has now.
func sourceVersion(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "apt-cache", "show", "--no-all-versions", kernelSource)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if version, ok := strings.CutPrefix(line, "Version: "); ok {
			return strings.TrimSpace(version), nil
		}
	}
	return "", fmt.Errorf("no version of %s in what apt-cache says", kernelSource)
}

func newestKernel(cache string, why error) (string, error) {
	found, err := filepath.Glob(filepath.Join(cache, "linux-uml-*"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no user-mode kernel, and no source to build it from: %w", why)
	}
	return found[len(found)-1], nil
}

// kernelTools installs what the build needs and the machine lacks: plain tools
// without any service.
func kernelTools(ctx context.Context, progress io.Writer) error {
	var lacking []string
	for tool, pkg := range map[string]string{
		"make": "make", "gcc": "gcc", "ld": "binutils", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils", "tar": "tar",
	} {
		_, err := exec.LookPath(tool)
		if err != nil {
			lacking = append(lacking, pkg)
		}
	}
	if lacking == nil {
		return nil
	}
	err := packagesAvailable()
	if err != nil {
		return fmt.Errorf("the kernel's build needs %s: %w", strings.Join(lacking, ", "), err)
	}
	fmt.Fprintln(progress, "rig: installing", strings.Join(lacking, ", "))
	return apt(ctx, "", append([]string{"install", "--yes", "--no-install-recommends", "libc6-dev"}, lacking...)...)
}
