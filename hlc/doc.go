// Package hlc is a hybrid logical clock: it issues 64-bit timestamps that order
// events causally while staying close to physical time.
//
// It promises, for one [Clock]: every timestamp is greater than every one issued
// before it, ranges never overlap (H1); after Observe(r) everything issued is
// greater than r (H2); a timestamp is never below the physical time read inside the
// call (H3) and never more than the max lead above it (H4); nothing is issued at or
// above the ceiling (H5). A Clock by itself remembers nothing across a restart
// (the volatile promise); package store keeps the ceiling on disk and adds that.
//
// It assumes that the physical clocks of all nodes agree within the max lead, and
// that whoever raises the ceiling has made the higher one durable first.
//
// Causality flows through Observe and through nothing else: a timestamp that came
// with a message, a request, a row or a file must be observed before the reaction
// to it is stamped.
//
// Hazard: a node whose clock runs ahead by more than the max lead is refused by its
// peers, and by its own Observe when they answer; a node whose clock runs behind
// still issues, but its timestamps are then driven by its peers and say little of
// its own time. Timestamps of two nodes that never communicated, directly or
// through others, are ordered by their clocks alone, which may differ by the sum of
// their error bounds: use intervals and commit wait where that matters.
//
// Source: S. Kulkarni, M. Demirbas, D. Madappa, B. Avva, M. Leone, "Logical Physical
// Clocks and Consistent Snapshots in Globally Distributed Databases", 2014. The
// paper carries l and c apart; here both live in one integer, so that a full logical
// part carries into the physical one and the comparison of timestamps is that of
// integers.
package hlc
