// Package cache remembers a bounded number of things.
package cache

// Map is a map that forgets: it keeps its entries in two generations, and when the
// young one is full, it becomes the old one, which is forgotten. It is not safe for
// concurrent writes; any number of goroutines may call Get between them.
type Map[K comparable, V any] struct {
	size       int
	young, old map[K]V
}

// New returns a Map that holds the last size entries that were put into it, and as
// many more at the most.
func New[K comparable, V any](size int) *Map[K, V] {
	return &Map[K, V]{size: size, young: make(map[K]V)}
}

// Get returns the value of a key, and whether there is one.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	if value, ok = m.young[key]; ok {
		return value, true
	}
	value, ok = m.old[key]
	return value, ok
}

// Put sets the value of a key, which is the last one to be forgotten then.
func (m *Map[K, V]) Put(key K, value V) {
	if _, young := m.young[key]; !young && len(m.young) >= m.size {
		m.young, m.old = make(map[K]V), m.young
	}
	m.young[key] = value
}

// Len is how many entries the generations hold together. A key that is in both
// counts twice.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }
