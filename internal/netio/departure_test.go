package netio

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// frame returns what a driver is given: link-layer header, IP header with options,
// UDP header, payload.
func frame(link []byte, v6 bool, options int, from uint16, payload []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, from)
	udp = binary.BigEndian.AppendUint16(udp, 40_000)
	udp = binary.BigEndian.AppendUint16(udp, uint16(headerLenUDP+len(payload)))
	udp = append(append(udp, 0xfe, 0x20), payload...)
	var ip []byte
	if v6 {
		ip = make([]byte, headerLenIPv6)
		ip[0], ip[6], ip[7] = 6<<4, protocolUDP, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(len(udp)))
	} else {
		ip = make([]byte, headerLenIPv4+options)
		ip[0], ip[8], ip[9] = 4<<4|byte(len(ip)/4), 64, protocolUDP
		ip[6] = 0x40 // do not fragment
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(udp)))
	}
	return slices.Concat(link, ip, udp)
}

func TestFindPayload(t *testing.T) {
	ethernet := append(make([]byte, 12), 8, 0)
	payload := []byte("forty-eight bytes, of which these are twenty-nine")
	inner := frame(nil, false, 0, 123, payload)
	// edited returns an ordinary frame with one byte of it changed; 14 is the first of IP.
	edited := func(at int, to byte) []byte {
		f := frame(ethernet, false, 0, 123, payload)
		f[at] = to
		return f
	}
	edited6 := func(at int, to byte) []byte {
		f := frame(ethernet, true, 0, 123, payload)
		f[at] = to
		return f
	}
	cases := []struct {
		name  string
		frame []byte
		want  []byte // nil: nothing
	}{
		{"nothing", nil, nil},
		{"no link layer, IPv4", inner, payload},
		{"no link layer, IPv6", frame(nil, true, 0, 123, payload), payload},
		{"Ethernet, IPv4", frame(ethernet, false, 0, 123, payload), payload},
		{"Ethernet, IPv6", frame(ethernet, true, 0, 123, payload), payload},
		{"an odd number of bytes", frame(make([]byte, 7), false, 0, 123, payload), payload},
		{"IPv4 options", frame(ethernet, false, 40, 123, payload), payload},
		{"no payload", frame(ethernet, false, 0, 123, nil), []byte{}},
		{"in a tunnel", frame(ethernet, false, 0, 4789, append([]byte("tunnel"), inner...)), payload},
		{"in a tunnel from the same port", frame(ethernet, false, 0, 123, inner), inner}, // not ours to know
		{"behind too much", frame(make([]byte, headersMax), false, 0, 123, payload), nil},
		{"the most that is looked through", frame(make([]byte, headersMax-28), false, 0, 123, payload), payload},
		{"from another port", frame(ethernet, false, 0, 124, payload), nil},
		{"to port 0", slices.Concat(edited(36, 0)[:37], []byte{0}, frame(ethernet, false, 0, 123, payload)[38:]), nil},
		{"another length of UDP", edited(39, 9), nil},
		{"another length of IPv4", edited(17, 9), nil},
		{"another length of IPv6", edited6(19, 9), nil},
		{"another protocol", edited(23, 6), nil},
		{"another next header", edited6(20, 6), nil},
		{"another version", edited(14, 0x55), nil},
		{"another header length", edited(14, 0x46), nil},
		{"another version of IPv6", edited6(14, 0x50), nil},
		{"the first fragment", edited(20, 0x20), nil},
		{"a later fragment", edited(21, 1), nil},
		{"cut short", frame(ethernet, false, 0, 123, payload)[:60], nil},
		{"a header alone", inner[:27], nil},
		{"something behind it", append(frame(ethernet, false, 0, 123, payload), 0), nil},
	}
	for _, c := range cases {
		got, ok := findPayload(c.frame, 123)
		if ok != (c.want != nil) || !bytes.Equal(got, c.want) {
			t.Errorf("%s: got %q, %v", c.name, got, ok)
		}
	}
}

// FuzzFindPayload: whatever comes back from the network card, what is found is
// the end of it, and a reply is found behind any header.
func FuzzFindPayload(f *testing.F) {
	f.Add([]byte{}, []byte("payload"), uint16(123), false, uint8(0))
	f.Add(make([]byte, 14), []byte("payload"), uint16(123), true, uint8(0))
	f.Add(frame(nil, true, 0, 7, nil), make([]byte, 48), uint16(7), false, uint8(3))
	f.Fuzz(func(t *testing.T, link, payload []byte, port uint16, v6 bool, options uint8) {
		if got, ok := findPayload(payload, port); ok && (len(got) > len(payload) || !bytes.HasSuffix(payload, got)) {
			t.Errorf("found %x in %x", got, payload)
		}
		payload = payload[:min(len(payload), DatagramMax)]
		whole := frame(link, v6, int(options%11)*4, port, payload)
		got, ok := findPayload(whole, port)
		if before := len(whole) - len(payload); !ok && before <= headersMax {
			t.Errorf("found nothing behind %d bytes", before)
		}
		if ok && (len(got) < len(payload) && len(link) == 0 || !bytes.HasSuffix(whole, got)) {
			t.Errorf("found %x in %x", got, whole)
		}
	})
}

func TestMemoryReportsDepartures(t *testing.T) {
	from := netip.MustParseAddrPort("192.0.2.9:5000")
	m := NewMemory(netip.MustParseAddrPort("192.0.2.1:123"))
	b := NewBatch()
	exchange := func(want ...int64) {
		t.Helper()
		m.Deliver(Message{Data: []byte("a"), From: from}, Message{Data: []byte("b"), From: from}, Message{Data: []byte("c"), From: from})
		if n, err := m.Receive(b); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		b.Queue(0, 1, true)
		b.Queue(1, 1, false)
		b.Queue(2, 1, true)
		if m.Departures(b) != 0 {
			t.Error("departed before the flush")
		}
		if failed, err := m.Flush(b); failed != 0 || err != nil {
			t.Fatal(failed, err)
		}
		if b.Departing() != 2 { // asked for, whatever comes of it
			t.Errorf("%d depart, want 2", b.Departing())
		}
		n := m.Departures(b)
		if n != len(want) {
			t.Fatalf("%d departures, want %d", n, len(want))
		}
		for k, at := range want {
			if d := b.Departure(k); d.At != at || len(d.Data) != 1 || int64(d.Data[0]) != at {
				t.Errorf("departure %d: %q at %d", k, d.Data, d.At)
			}
		}
		if m.Departures(b) != 0 {
			t.Error("told twice")
		}
	}
	exchange() // nobody said when
	m.Depart(func(d Datagram) (int64, bool) { return int64(d.Data[0]), d.To == from })
	exchange('a', 'c')
	m.Depart(func(d Datagram) (int64, bool) { return int64(d.Data[0]), d.Data[0] == 'c' })
	exchange('c')
	m.Depart(func(Datagram) (int64, bool) { return 5, true })
	for range 3 {
		for range BatchMax {
			b.Queue(0, 1, true)
		}
		_, _ = m.Flush(b)
	}
	for _, want := range []int{departuresMax, departuresMax, departuresMax, 0} {
		if n := m.Departures(b); n != want {
			t.Errorf("%d departures, want %d", n, want)
		}
	}
	m.Refuse(net.ErrClosed)
	b.Queue(0, 1, true)
	if failed, err := m.Flush(b); failed != 1 || err == nil || b.Departing() != 0 {
		t.Errorf("refused: %d failed, %v, %d depart", failed, err, b.Departing())
	}
}
