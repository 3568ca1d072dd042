package config

// Options returns every PeerOptions that For may return, so that what they name
// can be opened before the first connection.
func (l *Listen) Options() []*PeerOptions {
	all := []*PeerOptions{l.base.untrusted, l.base.trusted}
	for _, p := range l.peers {
		all = append(all, p.untrusted, p.trusted)
	}
	return all
}
