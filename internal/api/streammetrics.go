package api

import (
	"math"

	"github.com/truechimer/truechimer/store"
)

// streamMetrics are the metrics of the streams, none of them for each stream: there can be
// millions.
func streamMetrics(gauge, counter func(name, help string, read func(*State) float64) metric) []metric {
	count := func(name, help string, read func(*store.StreamsStatus) uint64) metric {
		return counter("streams_"+name+"_total", help, func(s *State) float64 { return float64(read(&s.Streams)) })
	}
	return []metric{
		count("appends", "Appends that were made durable.", func(s *store.StreamsStatus) uint64 { return s.Appends }),
		count("events", "Events that were made durable.", func(s *store.StreamsStatus) uint64 { return s.Events }),
		count("payload_bytes", "Bytes of the payloads that were made durable.", func(s *store.StreamsStatus) uint64 { return s.Bytes }),
		count("groups", "Synced writes, each for as many appends as had come by then.", func(s *store.StreamsStatus) uint64 { return s.Groups }),
		count("repeated", "Appends that were answered with the receipt of an earlier one.", func(s *store.StreamsStatus) uint64 { return s.Repeated }),
		count("conflicts", "Appends that were refused because a stream was not where it was expected.", func(s *store.StreamsStatus) uint64 { return s.Conflicts }),
		count("busy", "Calls that were refused because too many waited for the disk.", func(s *store.StreamsStatus) uint64 { return s.Busy }),
		count("full", "Calls that were refused because the disk was nearly full.", func(s *store.StreamsStatus) uint64 { return s.Full }),
		count("delivered", "Events that were handed to watches.", func(s *store.StreamsStatus) uint64 { return s.Delivered }),
		count("trimmed", "Events that were removed, by their retention or by hand.", func(s *store.StreamsStatus) uint64 { return s.Trimmed }),
		count("stalls", "Times that the database made appends wait.", func(s *store.StreamsStatus) uint64 { return s.Stalls }),
		count("created", "Streams that were ever created in this store.", func(s *store.StreamsStatus) uint64 { return s.Streams }),
		gauge("streams_watchers", "Watches now.", func(s *State) float64 { return float64(s.Streams.Watchers) }),
		gauge("streams_queued", "Calls that wait for the disk now.", func(s *State) float64 { return float64(s.Streams.Queued) }),
		gauge("streams_closed_timestamp_seconds", "No event with a timestamp up to this one is still to come.", func(s *State) float64 { return float64(s.Streams.Closed.Time().UnixNano()) / 1e9 }),
		gauge("store_free_bytes", "Free space of the disk when last looked at; not there while it is unknown.", freeBytes),
		gauge("store_reserve_bytes", "Free space below which nothing is appended.", func(s *State) float64 { return float64(s.Streams.ReserveBytes) }),
		gauge("store_nearly_full", "1 when appends are refused because the disk is nearly full.", func(s *State) float64 { return flag(s.Streams.NearlyFull) }),
	}
}

func freeBytes(s *State) float64 {
	if s.Streams.FreeBytes == 0 {
		return math.NaN()
	}
	return float64(s.Streams.FreeBytes)
}
