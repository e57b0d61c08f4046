package load

// What a request carries instead of the time.
//
// An answer shows which request it answers by nothing but 64 bits that it gives back. Were
// they a counter, anybody could make up answers; were they random, each would have to be
// looked up. So they are a number that says all (which request, on which socket), sent
// through a bijection that depends on a key: who has the key reads it back, and for all
// others one value is as likely as the next. The bijection is a Feistel network of four
// rounds, which can be undone whatever its round function is. It is no cipher for secrets:
// its round function is two multiplications, enough against those who see no requests.
//
// Further reading: M. Luby and C. Rackoff, "How to construct pseudorandom permutations
// from pseudorandom functions" (1988).

// roundsMax is the number of rounds: with fewer, a change of the number shows.
const roundsMax = 4

// cookies turns numbers into cookies and back. Every key gives a bijection on 64 bits.
type cookies struct {
	keys [roundsMax]uint64
}

// mix is the round function.
func mix(half uint32, key uint64) uint32 {
	x := (uint64(half) + key) * 0x9e3779b97f4a7c15 // 2^64 over the golden ratio; any odd number of mixed bits does
	x = (x ^ x>>29) * 0xbf58476d1ce4e5b9
	return uint32(x >> 32)
}

// seal returns the cookie of a number.
func (c *cookies) seal(number uint64) uint64 {
	left, right := uint32(number>>32), uint32(number)
	for _, key := range c.keys {
		left, right = right, left^mix(right, key)
	}
	return uint64(left)<<32 | uint64(right)
}

// open returns the number of a cookie.
func (c *cookies) open(cookie uint64) uint64 {
	left, right := uint32(cookie>>32), uint32(cookie)
	for i := len(c.keys) - 1; i >= 0; i-- {
		left, right = right^mix(left, c.keys[i]), left
	}
	return uint64(left)<<32 | uint64(right)
}
