package netio

import (
	"testing"
	"time"
)

// A datagram that came without a timestamp does not cost the next ones theirs.
func TestFlowsStampAgain(t *testing.T) {
	server, at := peer(t, "127.0.0.1")
	f, err := DialFlows(at, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k := f.(*kernelFlows)
	for end := time.Now().Add(patience); ; {
		for i := range k.in { // what the kernel says where it has written nothing
			k.in[i].hdr.SetControllen(0)
		}
		k.dirty = FlowBatchMax
		if _, err := f.Send(0, 1); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		_, from, err := server.ReadFromUDPAddrPort(b[:])
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now().UnixNano()
		if _, err := server.WriteToUDPAddrPort(b[:], from); err != nil {
			t.Fatal(err)
		}
		after := time.Now().UnixNano()
		if m := receiveFlow(t, f, 0, 1)[0]; m.Stamped {
			if m.At < before || m.At > after {
				t.Errorf("stamped %d, sent between %d and %d", m.At, before, after)
			}
			return
		}
		if time.Now().After(end) { // the kernel turns stamps on in the background
			t.Fatal("no timestamps")
		}
	}
}
