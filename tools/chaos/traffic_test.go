package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStream_LargeUploadsHaveAbout13Megabytes(t *testing.T) {
	t.Parallel()
	for _, s := range makeStreams() {
		if s.during == largeUploads {
			text, _ := s.body(1)
			assert.InDelta(t, 13e6, len(text), 1.5e6)
		}
	}
}
