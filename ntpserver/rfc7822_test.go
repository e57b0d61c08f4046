package ntpserver

// What may follow the header: RFC 7822, which replaces RFC 5905, section 7.5. One case for each
// length and structure, with what becomes of the request.

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/truechimer/truechimer/internal/ntp"
)

// unhex decodes hexadecimal.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// field returns an extension field of n bytes. Its body is such that it would show in a reply.
func field(kind uint16, n int) []byte {
	f := bytes.Repeat([]byte{0xab}, n)
	binary.BigEndian.PutUint16(f, kind)
	binary.BigEndian.PutUint16(f[2:], uint16(n))
	return f
}

// lying returns an extension field of n bytes that says it has another length.
func lying(n, says int) []byte {
	f := field(0x0104, n)
	binary.BigEndian.PutUint16(f[2:], uint16(says))
	return f
}

// mac returns a key identifier and a digest, n bytes.
func mac(n int) []byte {
	m := bytes.Repeat([]byte{0xcd}, n)
	binary.BigEndian.PutUint32(m, 7)
	return m
}

// nak is a crypto-NAK.
func nak() []byte { return make([]byte, 4) }

// follows is one thing to follow the header, and what becomes of the request.
type follows struct {
	name string
	rest []byte
	want Verdict
}

// judgeAll gives each case to a Responder as a request of the given version, in place and apart, and
// checks that what is answered is answered by a plain header that says nothing of
// the request but what a header's reply does.
func judgeAll(t *testing.T, version uint8, cases []follows) {
	t.Helper()
	for _, c := range cases {
		req := append(plain(version, ntp.ModeClient), c.rest...)
		var r Responder
		r.Use(honest())
		bare := ask(t, honest(), plain(version, ntp.ModeClient), noon, noon)
		for _, dst := range [][]byte{bytes.Repeat([]byte{0xee}, len(req)), req} {
			before := bytes.Clone(dst)
			n, v := r.Respond(dst, req, Arrival{From: client(), At: noon, Random: 0x5555555555555555})
			if v != c.want {
				t.Errorf("version %d, %d bytes, %s: got %v, want %v", version, len(req), c.name, v, c.want)
			}
			if v != Answered {
				if n != 0 || !bytes.Equal(dst, before) {
					t.Errorf("version %d, %s: something was written", version, c.name)
				}
				continue
			}
			r.Seal(dst[:n], noon, 0xaaaaaaaaaaaaaaaa)
			if h, err := ntp.Decode(dst[:n]); n != ntp.HeaderLen || err != nil || h != bare {
				t.Errorf("version %d, %s: %d bytes, %+v", version, c.name, n, h)
			}
			if !bytes.Equal(dst[n:], before[n:]) {
				t.Errorf("version %d, %s: something was written beyond the reply", version, c.name)
			}
		}
	}
}

// RFC 7822, section 3 (7.5.1): the length decides what follows the header. One row of the
// table per case.
func TestRFC7822Lengths(t *testing.T) {
	judgeAll(t, 4, []follows{
		{"48: a header", nil, Answered},
		{"50: no whole words", make([]byte, 2), DropLength},
		{"49", make([]byte, 1), DropLength},
		{"51", make([]byte, 3), DropLength},
		{"52: a crypto-NAK", nak(), DropAuth},
		{"52: a key identifier alone", mac(4), DropMalformed},
		{"52: a key identifier in the lowest bit", []byte{0, 0, 0, 1}, DropMalformed},
		{"52: and in the highest", []byte{0x80, 0, 0, 0}, DropMalformed},
		{"56", mac(8), DropMalformed},
		{"56: zeros", make([]byte, 8), DropMalformed},
		{"60", mac(12), DropMalformed},
		{"64", mac(16), DropMalformed},
		{"68: MD5 or CMAC", mac(20), DropAuth},
		{"68: of key 0", make([]byte, 20), DropAuth},
		{"72: SHA-1, or a longer digest cut", mac(24), DropAuth},
		{"76: one field", field(0x0104, 28), Answered},
		{"80: one field", field(0x0104, 32), Answered},
		{"80: a crypto-NAK after a field", append(field(0x0104, 28), nak()...), DropAuth},
		{"96: a MAC after a field", append(field(0x0104, 28), mac(20)...), DropAuth},
		{"100: a longer MAC after a field", append(field(0x0104, 28), mac(24)...), DropAuth},
		{"84: a MAC after the shortest field", append(field(0x0104, 16), mac(20)...), DropAuth},
	})
}

// RFC 7822, section 3 (7.5.1.4): a MAC of version 4 has 24 bytes at most. What is longer
// is read as fields, and is none.
func TestRFC7822LongerDigests(t *testing.T) {
	var cases []follows
	for n := 28; n <= 68; n += 4 {
		cases = append(cases, follows{fmt.Sprintf("a MAC of %d", n), mac(n), DropMalformed})
	}
	judgeAll(t, 4, cases)
}

// RFC 7822, section 3 (7.5.1): there may be several fields; the last one has 28 bytes at least, the
// others 16.
func TestRFC7822SeveralFields(t *testing.T) {
	judgeAll(t, 4, []follows{
		{"two", slices.Concat(field(1, 16), field(2, 28)), Answered},
		{"three", slices.Concat(field(1, 28), field(2, 16), field(3, 1000)), Answered},
		{"the same twice", slices.Concat(field(0x0204, 40), field(0x0204, 40)), Answered},
		{"fifty", slices.Concat(bytes.Repeat(field(1, 16), 49), field(2, 28)), Answered},
		{"three, and a MAC", slices.Concat(field(1, 16), field(2, 16), field(3, 16), mac(20)), DropAuth},
		{"three, and a crypto-NAK", slices.Concat(field(1, 16), field(2, 16), field(3, 28), nak()), DropAuth},
		{"two, and a key identifier alone", slices.Concat(field(1, 16), field(2, 28), mac(4)), DropMalformed},
		{"two, and eight bytes", slices.Concat(field(1, 16), field(2, 28), make([]byte, 8)), DropMalformed},
		{"two, and twelve", slices.Concat(field(1, 16), field(2, 28), make([]byte, 12)), DropMalformed},
		{"two, and sixteen", slices.Concat(field(1, 16), field(2, 28), make([]byte, 16)), DropMalformed},
	})
}

// RFC 7822, section 3 (7.5.1): a last field of less than 28 bytes could be a MAC. Where it has the
// length of one it is judged as one, and where not it is nothing.
func TestRFC7822LastFieldTooShort(t *testing.T) {
	for _, first := range [][]byte{nil, field(1, 16), field(1, 28)} {
		judgeAll(t, 4, []follows{
			{"16 alone or last", slices.Concat(first, field(1, 16)), DropMalformed},
			{"20 alone or last", slices.Concat(first, field(1, 20)), DropAuth},
			{"24 alone or last", slices.Concat(first, field(1, 24)), DropAuth},
			{"28 alone or last", slices.Concat(first, field(1, 28)), Answered},
		})
	}
}

// RFC 5905, section 7.5, and RFC 7822, section 3: unknown types are ignored, and not
// copied to the reply.
func TestRFC7822UnknownTypes(t *testing.T) {
	var cases []follows
	for _, kind := range []uint16{0, 1, 0x0104, 0x0204, 0x0304, 0x0404, 0x2005, 0x7fff, 0x8000, 0xc000, 0xf323, 0xffff} {
		cases = append(cases,
			follows{fmt.Sprintf("type %04x", kind), field(kind, 28), Answered},
			follows{fmt.Sprintf("type %04x, and another", kind), slices.Concat(field(kind, 200), field(^kind, 36)), Answered})
	}
	judgeAll(t, 4, cases)
}

// RFC 7822, section 3 (7.5.1): a field's length is a multiple of four, 16 at least, and within the
// packet. Where it is not the packet ends there.
func TestRFC7822FieldLengths(t *testing.T) {
	var r Responder
	req := append(plain(4, ntp.ModeClient), field(0x0104, 48)...)
	dst := make([]byte, len(req))
	for says := range 1 << 16 {
		want := DropMalformed
		switch says {
		case 48:
			want = Answered
		case 24, 28: // 24 and 20 remain, the lengths of MACs
			want = DropAuth
		}
		binary.BigEndian.PutUint16(req[50:], uint16(says))
		if _, v := r.Respond(dst, req, Arrival{From: client(), At: noon}); v != want {
			t.Errorf("48 bytes that say %d: got %v, want %v", says, v, want)
		}
	}
	judgeAll(t, 4, []follows{
		{"zero", lying(28, 0), DropMalformed},
		{"zero, after a field", append(field(1, 16), lying(28, 0)...), DropMalformed},
		{"all zeros", make([]byte, 1000), DropMalformed},
		{"4, a header alone", lying(28, 4), DropMalformed},
		{"12", lying(28, 12), DropMalformed},
		{"15", lying(28, 15), DropMalformed},
		{"27", lying(28, 27), DropMalformed},
		{"30, twice", append(field(1, 30), field(2, 30)...), DropMalformed},
		{"18 and 30", append(field(1, 18), field(2, 30)...), DropMalformed},
		{"30 and 18, and a MAC", slices.Concat(field(1, 30), field(2, 18), mac(20)), DropMalformed},
		{"one word too long", lying(28, 32), DropMalformed},
		{"the longest", lying(28, 0xfffc), DropMalformed},
		{"beyond all", lying(28, 0xffff), DropMalformed},
		{"the second one word too long", append(field(1, 16), lying(28, 32)...), DropMalformed},
	})
}

// RFC 5905, section 7.5: fields are of version 4. In those before it all that follows is a MAC,
// whose digest is not cut, or too long for one.
func TestRFC7822OlderVersions(t *testing.T) {
	for version := uint8(1); version < 4; version++ {
		cases := []follows{
			{"a header", nil, Answered},
			{"a crypto-NAK", nak(), DropAuth},
			{"a key identifier alone", mac(4), DropMalformed},
			{"eight bytes", mac(8), DropMalformed},
			{"DES, of RFC 1305", mac(12), DropAuth},
			{"sixteen bytes", mac(16), DropMalformed},
			{"no whole words", mac(21), DropLength},
			{"a field, of the length of a MAC", field(0x0104, 28), DropAuth},
			{"two fields", append(field(1, 16), field(2, 28)...), DropAuth},
			{"a field and a MAC", append(field(1, 28), mac(20)...), DropAuth},
			{"a field longer than a MAC", field(0x0104, 72), DropMalformed},
			{"a long field", field(0x0104, 1000), DropMalformed},
		}
		for n := 20; n <= 68; n += 4 { // MD5 to SHA-512
			cases = append(cases, follows{fmt.Sprintf("a MAC of %d", n), mac(n), DropAuth})
		}
		judgeAll(t, version, append(cases, follows{"longer than any", mac(72), DropMalformed}))
	}
}

// RFC 7822, section 3: the longest datagrams that there are, however they are cut into fields.
func TestRFC7822LongestDatagrams(t *testing.T) {
	const rest = 65504 - ntp.HeaderLen // 65,507 is the most that UDP over IPv4 carries
	judgeAll(t, 4, []follows{
		{"one field", field(1, rest), Answered},
		{"the shortest fields", append(bytes.Repeat(field(1, 16), (rest-32)/16), field(2, 32)...), Answered},
		{"the shortest fields, and a last one too short", bytes.Repeat(field(1, 16), rest/16), DropMalformed},
		{"one field, one word too long", lying(rest, rest+4), DropMalformed},
		{"one field, and a MAC", append(field(1, rest-20), mac(20)...), DropAuth},
		{"zeros", make([]byte, rest), DropMalformed},
		{"ones", bytes.Repeat([]byte{0xff}, rest), DropMalformed},
	})
	judgeAll(t, 3, []follows{{"of version 3", mac(rest), DropMalformed}})
	judgeAll(t, 4, []follows{
		{"all that UDP carries", make([]byte, 65507-ntp.HeaderLen), DropLength},
		{"more than a field's length can say", make([]byte, 70000), DropMalformed},
	})
}

// TestCapturedNTSRequest answers a request of a client of RFC 8915, whose fields are unknown
// here: as RFC 7822 asks they are ignored and not copied, and the client, who sees no
// authenticator, will not believe the reply. The capture is not ours to publish.
func TestCapturedNTSRequest(t *testing.T) {
	text, err := os.ReadFile("../../shared/vectors/standards.json")
	if err != nil {
		t.Skip(err)
	}
	var vectors struct {
		NTS struct{ Request string } `json:"nts_timenl"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	req := unhex(t, vectors.NTS.Request)
	if len(req) != 296 {
		t.Fatalf("%d bytes", len(req))
	}
	structure, size := ntp.Split(req[ntp.HeaderLen:], 4)
	if structure != ntp.TrailerFields || size != 248 {
		t.Errorf("structure %d with %d bytes of fields", structure, size)
	}
	var kinds []string
	for at := ntp.HeaderLen; at < len(req); {
		n := int(binary.BigEndian.Uint16(req[at+2:]))
		kinds = append(kinds, fmt.Sprintf("%04x:%d", binary.BigEndian.Uint16(req[at:]), n))
		at += n
	}
	if got, want := fmt.Sprint(kinds), "[0104:36 0204:172 0404:40]"; got != want {
		t.Errorf("fields %s, want %s", got, want)
	}
	d := newDesk(t, Policy{})
	reply, v := d.hand(client(), req, 0)
	if v != Answered || len(reply) != ntp.HeaderLen {
		t.Fatalf("%v with %d bytes", v, len(reply))
	}
	asked, _ := ntp.Decode(req)
	d.checkBasic(d.heard(reply), asked, noon)
	if n := d.kept(); n != 0 {
		t.Errorf("%d departures are kept", n)
	}
	for _, field := range [][]byte{req[48:84], req[84:256], req[256:]} {
		if bytes.Contains(reply, field[4:20]) {
			t.Error("a field was copied to the reply")
		}
	}
}
