package store_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/store"
)

// A program that issues timestamps which never go back, not even across a kill -9.
func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	var last hlc.Timestamp
	for range 2 { // two lives of the program
		s, err := store.Open(dir, store.Options{Node: 1})
		if err != nil {
			log.Fatal(err) // says what to do
		}
		issuer, err := store.NewIssuer(s, store.IssuerOptions{
			Physical: func() int64 { return time.Now().UnixNano() },
			Bound: func() (utc int64, bound time.Duration, err error) {
				return time.Now().UnixNano(), 5 * time.Millisecond, nil // what the clock can prove
			},
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := issuer.Start(); err != nil { // the clock is known to be right
			log.Fatal(err)
		}
		ts, err := issuer.Now(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("epoch", issuer.Status().Epoch, "later than before:", ts > last)
		last = ts

		if err := issuer.Close(); err != nil {
			log.Fatal(err)
		}
		if err := s.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// epoch 1 later than before: true
	// epoch 2 later than before: true
}
