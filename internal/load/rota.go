package load

// rota is the order in which the sockets that wait for answers are read: each is in it at
// most once, the one that waits longest first.
type rota struct {
	ring   []int32
	queued []bool
	head   int
	n      int
}

func newRota(flows int) rota { return rota{ring: make([]int32, flows), queued: make([]bool, flows)} }

// push puts a socket at the end, unless it is in it.
func (r *rota) push(flow int) {
	if r.queued[flow] {
		return
	}
	r.queued[flow] = true
	r.ring[(r.head+r.n)%len(r.ring)] = int32(flow)
	r.n++
}

// pop takes out the first socket. There must be one.
func (r *rota) pop() int {
	flow := int(r.ring[r.head])
	r.head = (r.head + 1) % len(r.ring)
	r.n--
	r.queued[flow] = false
	return flow
}
