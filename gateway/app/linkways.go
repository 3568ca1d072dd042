package app

import "mcmt2xmpp/xmpp/router"

// linked is the way to a domain that streams between servers do not lead to: that of a
// component, or one that a link does. Nil: there is none.
func (a *App) linked(from, to string) router.Remote {
	if a.components.Serves(to) {
		return a.components
	}
	if ls := a.links.all().For(from, to); len(ls) > 0 {
		return ls
	}
	return nil
}

// linkedTo says whether there is such a way from any domain of ours, and whether it is
// worth while to ask for it now.
func (a *App) linkedTo(domain string) (linked, reachable bool) {
	if a.components.Serves(domain) {
		return true, a.components.Reachable(domain)
	}
	return a.links.all().Any(domain), a.links.all().Reachable(domain)
}
