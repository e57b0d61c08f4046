package ntp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/facebook/time/ntp/protocol"
	"github.com/google/go-cmp/cmp"
)

// packet returns the bytes of a hexadecimal text.
func packet(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// capturedReply is a reply of a stratum-2 server, with known figures.
const capturedReply = "240206e900000236000003b7c035676ce5f661fd6f165f03e5f663a87619ef40e5f663a8798c6581e5f663a8798eae2b"

func TestDecodeCapturedReply(t *testing.T) {
	got, err := Decode(packet(t, capturedReply))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{
		Leap: LeapNone, Version: 4, Mode: ModeServer, Stratum: 2, Poll: 6, Precision: -23,
		RootDelay: 0x236, RootDispersion: 0x3b7, RefID: RefIDOf(netip.MustParseAddr("192.53.103.108")),
		Reference: 0xe5f661fd6f165f03, Origin: 0xe5f663a87619ef40, Receive: 0xe5f663a8798c6581, Transmit: 0xe5f663a8798eae2b,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := got.RootDelay.Duration().Round(time.Microsecond); got != 8636*time.Microsecond {
		t.Errorf("root delay: got %v", got)
	}
	if got := got.Receive.Sub(got.Origin); got != 13465300 {
		t.Errorf("T2−T1: got %d", got)
	}
	if got := got.Transmit.Sub(got.Receive).Round(time.Microsecond); got != 35*time.Microsecond {
		t.Errorf("T3−T2: got %v", got)
	}
}

func TestDecodeShort(t *testing.T) {
	for n := range HeaderLen {
		if _, err := Decode(make([]byte, n)); !errors.Is(err, ErrShort) {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
}

func TestEncodeCutsOffWhatDoesNotFit(t *testing.T) {
	b := Header{Leap: 0xff, Version: 4, Mode: 0xff}.Append(nil)
	if b[0] != 0xe7 {
		t.Errorf("first byte: got %02x, want e7", b[0])
	}
	b = Header{Version: 0xff}.Append([]byte{9})
	if len(b) != 1+HeaderLen || b[0] != 9 || b[1] != 0x38 {
		t.Errorf("got %x", b)
	}
}

// FuzzHeader: every 48 bytes survive decoding and encoding, and another
// implementation reads the same fields from them.
func FuzzHeader(f *testing.F) {
	f.Add(packet(f, capturedReply))
	f.Add(bytes.Repeat([]byte{0xff}, HeaderLen))
	f.Add(make([]byte, HeaderLen-1))
	f.Add(make([]byte, HeaderLen+20))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Decode(b)
		if (err != nil) != (len(b) < HeaderLen) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err != nil {
			return
		}
		wire := b[:HeaderLen]
		if again := h.Append(nil); !bytes.Equal(again, wire) {
			t.Fatalf("got  %x\nwant %x", again, wire)
		}
		p, err := protocol.BytesToPacket(wire)
		if err != nil {
			t.Fatal(err)
		}
		other := protocol.Packet{
			Settings: byte(h.Leap)<<6 | h.Version<<3 | byte(h.Mode), Stratum: h.Stratum, Poll: h.Poll, Precision: int8(h.Precision),
			RootDelay: uint32(h.RootDelay), RootDispersion: uint32(h.RootDispersion), ReferenceID: uint32(h.RefID),
			RefTimeSec: uint32(h.Reference >> 32), RefTimeFrac: uint32(h.Reference),
			OrigTimeSec: uint32(h.Origin >> 32), OrigTimeFrac: uint32(h.Origin),
			RxTimeSec: uint32(h.Receive >> 32), RxTimeFrac: uint32(h.Receive),
			TxTimeSec: uint32(h.Transmit >> 32), TxTimeFrac: uint32(h.Transmit),
		}
		if d := cmp.Diff(*p, other); d != "" {
			t.Error(d)
		}
	})
}

func TestRefIDOf(t *testing.T) {
	cases := []struct {
		addr string
		want RefID
	}{
		{"192.53.103.108", 0xc035676c},
		{"::ffff:192.53.103.108", 0xc035676c},
		{"2001:db8:85a3:8d3:1319:8a2e:370:7334", 0x52fdcf75},
		{"2001:db8::1", 0x39ab9b37},
		{"::1", 0xcf404dc8},
		{"2610:20:6f96:96::4", 0x54a858f3},
	}
	for _, c := range cases {
		if got := RefIDOf(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s: got %08x, want %08x", c.addr, uint32(got), uint32(c.want))
		}
	}
	if got := RefIDOf(netip.Addr{}); got != 0 {
		t.Errorf("no address: got %08x", uint32(got))
	}
}

func TestRefIDText(t *testing.T) {
	cases := []struct {
		id      RefID
		stratum uint8
		want    string
	}{
		{RefIDFromASCII("GPS"), 1, "GPS"},
		{RefIDFromASCII("GPS"), 2, "71.80.83.0"},
		{RefIDFromASCII("PPSxtra"), 1, "PPSx"},
		{RefIDFromASCII(""), 1, ""},
		{0x1b5b324a, 1, `\x1b[2J`}, // would clear the screen
		{0x00470000, 0, `\x00G`},
		{0x7f7f0101, 3, "127.127.1.1"},
		{KissRATE, 0, "RATE"},
	}
	for _, c := range cases {
		if got := c.id.Text(c.stratum); got != c.want {
			t.Errorf("%08x at stratum %d: got %q, want %q", uint32(c.id), c.stratum, got, c.want)
		}
	}
}

func TestKissCodes(t *testing.T) {
	for code, want := range map[RefID]uint32{
		KissRATE: 0x52415445, KissDENY: 0x44454e59, KissRSTR: 0x52535452,
		KissINIT: 0x494e4954, KissSTEP: 0x53544550, KissNTSN: 0x4e54534e,
	} {
		if uint32(code) != want {
			t.Errorf("%s: %08x, want %08x", code.Text(0), uint32(code), want)
		}
		if code.Bytes() != [4]byte(packet(t, hex.EncodeToString([]byte(code.Text(0))))) {
			t.Errorf("%s: bytes %x", code.Text(0), code.Bytes())
		}
	}
}

func TestParametersOfTheRFC(t *testing.T) {
	if unixToNTP != 2208988800 || ShortMax != math.MaxUint32 || MaxDispersion != 16*time.Second {
		t.Error("a constant is not what RFC 5905 says")
	}
}
