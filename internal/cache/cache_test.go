package cache

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMap_HoldsTheLastEntries(t *testing.T) {
	t.Parallel()
	const size = 10
	m := New[int, string](size)
	for key := range 10 * size {
		m.Put(key, "first")
		m.Put(key, "last") // takes no more room
		value, ok := m.Get(key)
		assert.True(t, ok)
		assert.Equal(t, "last", value)
		for last := max(0, key-size+1); last < key; last++ {
			_, ok := m.Get(last)
			assert.True(t, ok, "%d after %d", last, key)
		}
		assert.LessOrEqual(t, m.Len(), 2*size)
	}
	_, ok := m.Get(0)
	assert.False(t, ok)
}

func TestMap_KeepsWhatIsPutAgain(t *testing.T) {
	t.Parallel()
	const size = 10
	m := New[int, bool](size)
	for key := 1; key < 10*size; key++ {
		m.Put(0, true)
		m.Put(key, true)
		_, ok := m.Get(0)
		assert.True(t, ok)
	}
}
