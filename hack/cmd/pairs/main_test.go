package main

import (
	"math"
	"testing"
)

func TestRatio(t *testing.T) {
	mean, lower := ratio([]float64{100, 200, 50}, []float64{90, 180, 45})
	if math.Abs(mean-0.9) > 1e-9 || math.Abs(lower-0.9) > 1e-9 {
		t.Errorf("of pairs that are all alike: %v, %v", mean, lower)
	}
	mean, lower = ratio([]float64{100, 100, 100, 100}, []float64{110, 90, 105, 95})
	if math.Abs(mean-0.9969) > 1e-3 || lower > 0.91 || lower < 0.88 { // by hand: t = 2.353, sd 0.0861
		t.Errorf("%v, %v", mean, lower)
	}
}

// The quantiles of the tables.
func TestStudent(t *testing.T) {
	for freedom, want := range map[int]float64{2: 2.92, 3: 2.353, 5: 2.015, 10: 1.812, 19: 1.729, 1000: 1.646} {
		if got := student(freedom); math.Abs(got-want) > 0.04 {
			t.Errorf("%d degrees: %v, want %v", freedom, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	if median([]float64{3, 1, 2}) != 2 || median([]float64{4, 1, 2, 3}) != 2.5 {
		t.Error("that is not the middle")
	}
}
