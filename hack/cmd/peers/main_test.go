package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		depends string
		want    []string
	}{
		"nothing": {"\n", nil},
		"chrony": {"adduser, iproute2, tzdata, ucf, libc6 (>= 2.34), libcap2 (>= 1:2.10), libnettle8, libseccomp2 (>= 2.4.3-1~)",
			[]string{"libcap2", "libnettle8", "libseccomp2"}},
		"ntpdig":       {"python3 (>= 3.3), python3:any, python3-ntp (= 1.2.2+dfsg1-1)", []string{"python3-ntp"}},
		"promtool":     {"adduser, libjs-jquery (>= 3.5.1~), libc6 (>= 2.34)", nil},
		"alternatives": {"libcurl4 | libcurl3, awk | mawk", []string{"libcurl4"}},
		"twice":        {"libbsd0 (>= 0.0), libbsd0 (<< 9)", []string{"libbsd0"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, needed(c.depends)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLeftOutSaysWhat(t *testing.T) {
	got := leftOut(tools()[5:6], nil).Error()
	want := "these can be had by root on Debian only, so what needs them is left out: gcc and libc6-dev (for the race detector)"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
