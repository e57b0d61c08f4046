// Package store keeps on disk what must survive a crash, and issues hybrid timestamps
// that do. Open guards one data directory; Issuer issues timestamps below a ceiling
// that is always on disk first; Streams keeps streams of events, each with a gapless
// sequence and a timestamp; Journal keeps evidence, chained and signed, so that nothing of it can be
// changed without notice; History keeps rows for charts.
//
// It promises (windowed): timestamps of one store are unique and rise across restarts,
// kill -9 and power loss (H1, H5, H7), as long as nobody calls Rebase. And (recorded): an
// event that was acknowledged, read or watched is there after any crash, with its sequence
// and its timestamp (H15). And (chained): what stood in the journal when a head was handed out
// cannot be changed, moved or removed any more without Verify finding it (J1, J2), other than by
// Trim, behind a root (J3). What a write acknowledged is synced. A directory that is foreign, locked, newer or damaged is
// refused before anything in it is changed, with an error that wraps ErrRefused and
// says what to do.
//
// It assumes that a sync that succeeded is on stable storage, that one process holds
// the directory (a lock sees to that on a local file system), and that nobody changes
// or removes files below it.
//
// Hazard: storage that lies about syncs, a restored snapshot of the disk, or files of
// the database removed by hand bring back an old ceiling, and timestamps may then
// repeat. So does damage to the very last record of the log: it cannot be told from a
// write that a power cut tore. (Other damage to the log is found.) A failed sync fences the
// store for good: all calls return ErrFenced, nothing more is acknowledged, and the process
// has to be restarted. Whoever can write to the data directory can make a journal anew, with another
// key or with the one that is there: what stands against that is heads and keys that are kept elsewhere.
//
// Backup makes a copy of a store that is at work, Restore a new store of such a copy, and
// Verify proves either from end to end.
//
// In the directory: TRUECHIMER, the format record; LOCK; journal.key, the key that signs, and
// journal.head, the head that was signed last, where there is a journal; and pebble, the database.
// Its keys start with a table byte: 00 format, store id and node; 01 the ceiling; 10 to 14 the
// streams, see event.go; 20 to 22 the journal, see journalrecord.go; 30 the history. A backup has an
// INVENTORY besides, and neither LOCK nor journal.key.
package store
