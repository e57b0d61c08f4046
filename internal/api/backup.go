package api

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

var errBackupStopped = connect.NewError(connect.CodeUnavailable, errors.New("this node is stopping, and the backup was given up; make another one once it is back"))

// Backup tells the progress as it comes. Where the peer does not read, or leaves, and when
// the server stops, the backup ends.
func (s *nodeService) Backup(ctx context.Context, r *connect.Request[rpc.BackupRequest], stream *connect.ServerStream[rpc.BackupResponse]) error {
	if !filepath.IsAbs(r.Msg.Path) {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("path is %q; give an absolute path on the machine of the node, such as /var/backups/truechimer", clipped(r.Msg.Path)))
	}
	ctx, peer, done := begin(ctx, s.stopping)
	defer done()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	start := time.Now()
	last := new(rpc.BackupResponse)
	result, err := s.node.Backup(ctx, r.Msg.Path, func(p store.Progress) {
		if ctx.Err() != nil {
			return
		}
		last = &rpc.BackupResponse{Phase: p.Phase, FilesDone: p.Files, FilesTotal: p.FilesTotal, BytesDone: p.Bytes, BytesTotal: p.BytesTotal}
		if err := peer.send(func() error { return stream.Send(last) }); err != nil {
			giveUp(err)
		}
	})
	if err != nil {
		switch why := byUs(ctx); {
		case why == errStopping:
			return errBackupStopped
		case why != nil:
			return why
		}
		return backupError(err)
	}
	last.Result = &rpc.BackupResult{
		Path: result.Dir, StoreId: result.ID, Ceiling: uint64(result.Ceiling),
		Streams: result.Streams, Events: result.Events, EventBytes: result.EventBytes,
		Files: result.Files, Bytes: result.Bytes, TookNs: time.Since(start).Nanoseconds(),
	}
	return peer.send(func() error { return stream.Send(last) })
}

// backupError gives an error of a backup its code.
func backupError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, store.ErrBackupRunning):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.Is(err, store.ErrRefused):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return streamError(err)
}
