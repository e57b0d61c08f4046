package compliance

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Each field of an entry is a kind, and the other way round.
func TestKinds(t *testing.T) {
	if n := entryFields().Len(); n != len(Kinds()) {
		t.Fatalf("%d fields, %d kinds", n, len(Kinds()))
	}
	for _, k := range Kinds() {
		if named, ok := KindNamed(k.String()); !ok || named != k {
			t.Errorf("kind %d, named %q, is %d", k, k, named)
		}
		e := &rpc.JournalEntry{}
		f := entryFields().ByNumber(protoreflect.FieldNumber(k))
		e.ProtoReflect().Set(f, e.ProtoReflect().NewField(f))
		if got := KindOf(e); got != k {
			t.Errorf("KindOf says %d for kind %d", got, k)
		}
	}
	if k := KindOf(&rpc.JournalEntry{}); k != 0 {
		t.Errorf("an entry that says nothing is of kind %d", k)
	}
	if _, ok := KindNamed("nothing"); ok || Kind(200).String() != "" {
		t.Error("there is a kind that there is not")
	}
}
