package main

import (
	"os"
	"os/exec"
	"testing"
)

const isolatedEnv = "TRUECHIMER_TEST_ISOLATED"

// leaveOut skips a test for want of something, and fails it where all must be tested.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// unshareArgs make namespaces for the network and for processes: all ports are free, and
// nothing in there outlives the test.
func unshareArgs() []string {
	args := []string{"--net", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Geteuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	return args
}

// canIsolate reports whether such namespaces can be had.
func canIsolate() bool {
	return exec.Command("unshare", append(unshareArgs(), "ip", "link", "set", "lo", "up")...).Run() == nil
}

// isolate runs the calling test once more, in namespaces of its own, and returns true
// there. Outside it returns false when that is done: the caller then returns.
func isolate(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolatedEnv) != "" {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(unshareArgs(), "sh", "-c", `ip link set lo up && exec "$0" "$@"`, self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	cmd := exec.CommandContext(t.Context(), "unshare", args...)
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), isolatedEnv+"=1"), dieWithUs()
	out, err := cmd.CombinedOutput()
	t.Logf("in namespaces of its own:\n%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}
