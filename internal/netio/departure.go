package netio

// When a reply left.
//
// A server in interleaved mode tells a client in one reply when the reply before
// really left, which only the kernel knows: it stamps the datagram when it hands it to
// the network driver, and then loops a copy back through the socket's error
// queue. Which reply was that? The kernel would number the datagrams (OPT_ID), but it
// counts what it tries to send and we would count what it said it has sent: once the two
// counts differ, by a reply that failed half-way, every departure from then on belongs to
// another reply, and nobody ever notices. The copy says by itself which reply it is.
// So we hand out the payload, and the caller looks for what it has put there.
//
// The copy begins wherever the driver's frame begins: link-layer header of some
// length, IP header, UDP header. We look for the UDP header and do not trust one
// field alone: port, both lengths and the IP header before it have to agree.
//
// Source: RFC 9769; the kernel's Documentation/networking/timestamping.rst.

import "encoding/binary"

const (
	// departuresMax is how many departures one call of Departures returns at the most.
	departuresMax = 32

	// headersMax bounds what precedes the payload of a reply that is looped back, in
	// bytes. Ethernet with two VLAN tags, IPv6 and UDP take 70; a tunnel takes twice that.
	headersMax = 192

	headerLenUDP  = 8
	headerLenIPv4 = 20 // without options
	headerLenIPv6 = 40
	protocolUDP   = 17
)

// Departure is a reply that has left.
type Departure struct {
	// Data is the payload as it left.
	Data []byte

	// At is when the kernel handed it to the network driver, in nanoseconds since
	// 1970-01-01 by CLOCK_REALTIME.
	At int64
}

// Departure returns the k-th of what the last Departures returned, valid until
// the next.
func (b *Batch) Departure(k int) *Departure { return &b.departures[k] }

// findPayload returns the payload of the UDP datagram that frame ends with, which must
// have left from port. It finds nothing in what is encrypted, in a fragment, or where an
// IPv6 extension header was put in between.
func findPayload(frame []byte, port uint16) (payload []byte, ok bool) {
	for at := headerLenIPv4; at <= min(headersMax, len(frame))-headerLenUDP; at++ {
		udp := frame[at:]
		if binary.BigEndian.Uint16(udp) == port && // source
			binary.BigEndian.Uint16(udp[2:]) != 0 && // destination
			int(binary.BigEndian.Uint16(udp[4:])) == len(udp) &&
			followsIP(frame[:at], len(udp)) {
			return udp[headerLenUDP:], true
		}
	}
	return nil, false
}

// followsIP tells whether headers end with an IP header that announces lenBytes
// of UDP.
func followsIP(headers []byte, lenBytes int) bool {
	if at := len(headers) - headerLenIPv6; at >= 0 {
		ip := headers[at:]
		if ip[0]>>4 == 6 && ip[6] == protocolUDP && int(binary.BigEndian.Uint16(ip[4:])) == lenBytes {
			return true
		}
	}
	for words := headerLenIPv4 / 4; words <= 15 && 4*words <= len(headers); words++ { // with options
		ip := headers[len(headers)-4*words:]
		const more = 0x3fff // fragments follow, or this is one that does
		if ip[0] == 4<<4|byte(words) && ip[9] == protocolUDP &&
			int(binary.BigEndian.Uint16(ip[2:])) == 4*words+lenBytes && binary.BigEndian.Uint16(ip[6:])&more == 0 {
			return true
		}
	}
	return false
}
