// Package ntpserver is an NTP server to embed in a program that knows the time.
//
// The program says what it knows by Claims; the server answers clients of NTP
// versions 1 to 4 with exactly that, on IPv4 and IPv6, one worker per core.
// Listen and Serve are the whole of it; a Responder, and Clients, alone answer datagrams that
// the program moves itself.
//
// It promises:
//   - A reply is never longer than its request, and only a client's request is
//     answered: the server can be used neither to amplify nor to reflect.
//   - Every field says what Claims say. Root delay and root dispersion are
//     rounded up, and the dispersion grows from reply to reply; without
//     claims, or with such as make no sense, replies are marked unsynchronised.
//   - The receive timestamp is the kernel's; it is never later than the
//     transmit timestamp, whatever happens to the clock in between.
//   - A reply leaves from the address that the request was sent to (on Linux).
//   - Clients in interleaved mode hear when the last reply really left, by the
//     kernel's stamp (on Linux); basic mode works for every client at any time.
//   - Who may ask, and how often, is the Policy's to say. What is remembered of
//     clients has a fixed size, whatever their number, and a flood under a
//     client's address does not silence that client.
//   - No datagram, whatever it holds, ends a worker or costs an allocation, and
//     no flood of them a flood of log lines.
//
// It assumes that Claims are true, that a published Claims is never changed,
// and that the kernel stamps datagrams by CLOCK_REALTIME.
//
// Hazard: clients believe the root distance. A server that claims less error
// than it has moves their clocks away from the truth, unnoticed as long as it is
// their only source; so claim only what was measured, let the growth stand for the worst
// oscillator, and claim nothing (stratum 0) once that is lost.
//
// Source: RFC 5905, RFC 7822, RFC 9769.
package ntpserver
