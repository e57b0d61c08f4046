package ntp

// What may follow the header.
//
// A packet of version 4 is its header, then extension fields, then at most one
// MAC, and nothing says where the fields end and the MAC begins. RFC 7822
// resolves that by lengths: a MAC is at most 24 bytes, a field that ends the
// packet at least 28. So while more than 24 bytes remain they begin with a
// field, and what remains after the last one is nothing, a MAC, or the four
// zero bytes of a crypto-NAK. Versions 1 to 3 know no fields; all that follows
// is a MAC.

import "encoding/binary"

// Trailer is the structure of the bytes that follow the header.
type Trailer uint8

// The structures. Only what can be told without a key is judged: a MAC is
// bytes of a MAC's length.
const (
	TrailerNone      Trailer = iota // nothing
	TrailerFields                   // extension fields
	TrailerMAC                      // a MAC
	TrailerFieldsMAC                // extension fields, then a MAC
	TrailerCryptoNAK                // four zero bytes: the answer to a MAC that did not verify
	TrailerMalformed                // none of these
)

const (
	keyIDLen  = 4
	fieldMin  = 16            // an extension field's least length, header included
	macMD5    = keyIDLen + 16 // MD5, AES-CMAC
	macMax    = keyIDLen + 20 // SHA-1, and longer digests cut to 20 bytes
	macOld    = keyIDLen + 8  // RFC 1305, appendix C: DES
	macOldMax = keyIDLen + 64 // digests of version 3 are not cut
)

// Split judges rest, the bytes that follow the header of a packet of the given
// version, and returns its structure and the length of the extension fields:
// they are rest[:fieldsLen], the MAC is rest[fieldsLen:]. For a malformed rest
// fieldsLen is 0.
// Source: RFC 7822, sections 7.5.1.3 and 7.5.1.4; RFC 5905, section 9.2.
func Split(rest []byte, version uint8) (t Trailer, fieldsLen int) {
	if version < 4 {
		return splitOld(rest), 0
	}
	for len(rest)-fieldsLen > macMax {
		n := int(binary.BigEndian.Uint16(rest[fieldsLen+2:]))
		if n < fieldMin || n%4 != 0 || n > len(rest)-fieldsLen {
			return TrailerMalformed, 0
		}
		fieldsLen += n
	}
	mac := rest[fieldsLen:]
	switch {
	case len(mac) == 0 && fieldsLen == 0:
		return TrailerNone, 0
	case len(mac) == 0:
		return TrailerFields, fieldsLen
	case isCryptoNAK(mac):
		return TrailerCryptoNAK, fieldsLen
	case len(mac) != macMD5 && len(mac) != macMax:
		return TrailerMalformed, 0
	case fieldsLen == 0:
		return TrailerMAC, 0
	}
	return TrailerFieldsMAC, fieldsLen
}

// splitOld is Split for the versions before extension fields.
func splitOld(rest []byte) Trailer {
	n := len(rest)
	switch {
	case n == 0:
		return TrailerNone
	case isCryptoNAK(rest):
		return TrailerCryptoNAK
	case n == macOld, macMD5 <= n && n <= macOldMax && n%4 == 0:
		return TrailerMAC
	}
	return TrailerMalformed
}

// isCryptoNAK reports whether mac is a key identifier of zero and no digest.
func isCryptoNAK(mac []byte) bool {
	return len(mac) == keyIDLen && binary.BigEndian.Uint32(mac) == 0
}
