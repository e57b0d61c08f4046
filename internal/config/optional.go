package config

// optional is a key that can be left out, which is another thing than any value: inner reads
// and writes the value itself. example is shown of it in a comment.
func optional[C, V any](at func(*C) **V, example string, inner field[V]) field[C] {
	return field[C]{
		want:    inner.want,
		example: example,
		set: func(c *C, v value) []fault {
			read := new(V)
			if faults := inner.set(read, v); faults != nil {
				return faults
			}
			*at(c) = read
			return nil
		},
		text: func(c *C) string {
			if *at(c) == nil {
				return ""
			}
			return inner.text(*at(c))
		},
		plain: func(c *C) string {
			if *at(c) == nil {
				return ""
			}
			return inner.plain(*at(c))
		},
		copy: func(to, from *C) { *at(to) = *at(from) }, // nobody writes to a value that was read
	}
}

// itself is the place of a value that is no part of anything.
func itself[V any](v *V) *V { return v }
