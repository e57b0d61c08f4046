//go:build linux

package main

import (
	"encoding/binary"
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

// The bytes are checked by RFC 5905's table of fields, not by a codec of ours.
func TestEncodeReply(t *testing.T) {
	request := make([]byte, ntpLen)
	request[0], request[2] = 3<<3|3, 6
	for i := range 8 {
		request[40+i] = byte(0xa0 + i)
	}
	const receive, transmit = 1_795_000_007_250_000_000, 1_795_000_007_500_000_000
	reply := encodeReply(request, receive, transmit)
	if reply[0] != 3<<3|4 || reply[1] != 1 || reply[2] != 6 || int8(reply[3]) != -22 {
		t.Errorf("begins with % x", reply[:4])
	}
	if string(reply[24:32]) != string(request[40:48]) {
		t.Errorf("origin % x, want the request's transmit timestamp", reply[24:32])
	}
	for name, c := range map[string]struct {
		at      []byte
		seconds uint32
		part    float64
	}{
		"receive":  {reply[32:], 1_795_000_007 + 2_208_988_800, 0.25},
		"transmit": {reply[40:], 1_795_000_007 + 2_208_988_800, 0.5},
	} {
		if got := binary.BigEndian.Uint32(c.at); got != c.seconds {
			t.Errorf("%s: %d s, want %d", name, got, c.seconds)
		}
		if got := fraction(c.at[4:]); math.Abs(got-c.part) > 1e-9 {
			t.Errorf("%s: fraction %g, want %g", name, got, c.part)
		}
	}
	if reference := binary.BigEndian.Uint32(reply[16:]); reference > binary.BigEndian.Uint32(reply[32:]) {
		t.Errorf("the reference time %d is after the reply", reference)
	}
}

// Two clocks that are read at one instant keep their distance.
func TestReadClocks(t *testing.T) {
	real, raw, err := readClocks(unix.CLOCK_REALTIME)
	if err != nil {
		t.Fatal(err)
	}
	again, rawAgain, err := readClocks(unix.CLOCK_REALTIME)
	if err != nil {
		t.Fatal(err)
	}
	const tolerance = 50e6 // a scheduler's whim
	now, err := clockNs(unix.CLOCK_MONOTONIC_RAW)
	if err != nil {
		t.Fatal(err)
	}
	if since := now - rawAgain; since < 0 || since > tolerance {
		t.Errorf("the raw clock was read %d ns ago", since)
	}
	if drift := (again - real) - (rawAgain - raw); math.Abs(float64(drift)) > tolerance {
		t.Errorf("the distance of two clocks changed by %d ns", drift)
	}
}

func fraction(b []byte) float64 { return float64(binary.BigEndian.Uint32(b)) / (1 << 32) }
