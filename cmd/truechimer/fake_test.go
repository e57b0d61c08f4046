package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/facebook/time/ntp/chrony"

	"github.com/truechimer/truechimer/internal/ntp"
)

// answerUDP answers every datagram on a free port of loopback until it is closed.
func answerUDP(answer func(request []byte) []byte) (addr string, stop func(), err error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", nil, err
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		request := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(request)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if reply := answer(request[:n]); err == nil && reply != nil {
				_, _ = conn.WriteToUDPAddrPort(reply, from) // a lost reply fails the test that waits for it
			}
		}
	})
	return conn.LocalAddr().String(), func() { conn.Close(); serving.Wait() }, nil
}

// fakeNTP is an NTP server that claims what it is told, such as offset=10s stratum=2
// rootdelay=1ms rootdispersion=5ms leap=3 refid=RATE silent=true; with
// quick=N every reply but the N-th seems to have been on its way for a second.
func fakeNTP(claims []string) (addr string, stop func(), err error) {
	h := ntp.Header{Version: 4, Mode: ntp.ModeServer, Stratum: 2, Precision: -23, RefID: ntp.RefIDFromASCII("\xc0\x00\x02\x01")}
	var offset time.Duration
	silent := false
	quick, replies := 0, 0
	for _, claim := range claims {
		name, value, _ := strings.Cut(claim, "=")
		var n int
		var d time.Duration
		switch name {
		case "offset":
			offset, err = time.ParseDuration(value)
		case "stratum":
			n, err = strconv.Atoi(value)
			h.Stratum = uint8(n)
		case "leap":
			n, err = strconv.Atoi(value)
			h.Leap = ntp.Leap(n)
		case "rootdelay":
			d, err = time.ParseDuration(value)
			h.RootDelay = ntp.ShortOf(d)
		case "rootdispersion":
			d, err = time.ParseDuration(value)
			h.RootDispersion = ntp.ShortOf(d)
		case "refid":
			value, err = strconv.Unquote(`"` + value + `"`)
			h.RefID = ntp.RefIDFromASCII(value)
		case "quick":
			quick, err = strconv.Atoi(value)
		case "silent":
			silent, err = strconv.ParseBool(value)
		default:
			err = fmt.Errorf("no such claim: %s", name)
		}
		if err != nil {
			return "", nil, err
		}
	}
	return answerUDP(func(request []byte) []byte {
		asked, err := ntp.Decode(request)
		if err != nil || silent {
			return nil
		}
		now := time.Now().Add(offset)
		var early time.Duration
		if replies++; quick > 0 && replies != quick {
			early = time.Second / 2
		}
		reply := h
		reply.Origin, reply.Receive, reply.Transmit = asked.Transmit, ntp.FromUnix(now.Add(early).UnixNano()), ntp.FromUnix(now.Add(-early).UnixNano())
		reply.Reference = reply.Transmit
		return reply.Append(nil)
	})
}

// trackingReply is chronyd's answer to "tracking", as on the wire behind the head.
type trackingReply struct {
	RefID                   uint32
	IP                      [16]byte
	Family, _               uint16
	Stratum, Leap           uint16
	SecHigh, SecLow, Nsec   uint32
	Correction              uint32
	LastOffset, RMSOffset   uint32
	Frequency, ResidualFreq uint32
	Skew                    uint32
	RootDelay               uint32
	RootDispersion          uint32
	UpdateInterval          uint32
	_                       [4]byte
}

// chronyFloat encodes a number as chronyd does: seven bits of exponent, 25 of coefficient.
func chronyFloat(f float64) uint32 {
	fraction, exponent := math.Frexp(f)
	return uint32(exponent+1)<<25 | uint32(int32(math.Ldexp(fraction, 24)))&(1<<25-1)
}

// fakeChronyd says that it follows 192.0.2.1 and is within 2 ms of UTC: root delay 2 ms,
// root dispersion 1 ms.
func fakeChronyd() (addr string, stop func(), err error) {
	return answerUDP(func([]byte) []byte {
		now := time.Now()
		head := chrony.ReplyHead{Version: 6, PKTType: 2, Command: 33, Reply: chrony.RpyTracking}
		var b bytes.Buffer
		for _, part := range []any{head, trackingReply{
			RefID: 0xc0000201, IP: [16]byte{192, 0, 2, 1}, Family: 1, Stratum: 2,
			SecHigh: uint32(now.Unix() >> 32), SecLow: uint32(now.Unix()), Nsec: uint32(now.Nanosecond()),
			Frequency: chronyFloat(-12.5), Skew: chronyFloat(0.25), RootDelay: chronyFloat(1.0 / 512), RootDispersion: chronyFloat(1.0 / 1024), UpdateInterval: chronyFloat(64),
		}} {
			_ = binary.Write(&b, binary.BigEndian, part) // a buffer takes it all
		}
		return b.Bytes()
	})
}
