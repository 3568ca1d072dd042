package config

// accountOptions are for what the server keeps for its accounts. They hold for the
// process.
var accountOptions = []*option{
	{name: "max_blocked_per_account", kind: kindNumber, def: "1000", min: 1, max: 10000,
		scopes: inGlobal,
		doc:    "addresses that one account may block (XEP-0191)"},
	{name: "max_private_elements", kind: kindNumber, def: "100", min: 1, max: 10000,
		scopes: inGlobal,
		doc:    "elements that clients may keep for one account (XEP-0049)"},
	{name: "max_private_size", kind: kindSize, def: "64k", min: 1024, max: 4 << 20,
		scopes: inGlobal,
		doc:    "size of one of them; max_stanza_size bounds it too"},
	{name: "max_roster_contacts", kind: kindNumber, def: "1000", min: 1, max: 10000,
		scopes: inGlobal,
		doc:    "contacts that one account may have"},
	{name: "max_roster_groups", kind: kindNumber, def: "50", min: 1, max: 1000,
		scopes: inGlobal,
		doc:    "groups that one contact may be in"},
	{name: "max_roster_requests", kind: kindNumber, def: "100", min: 1, max: 10000,
		scopes: inGlobal,
		doc:    "people who are no contacts whose requests for a subscription may wait for one account's answer"},
	{name: "max_roster_size", kind: kindSize, def: "512k", min: 4096, max: 4 << 20,
		scopes: inGlobal,
		doc:    "size of the stored roster of one account; a contact takes about 150 bytes"},
	{name: "max_vcard_size", kind: kindSize, def: "256k", min: 4096, max: 4 << 20,
		scopes: inGlobal,
		doc:    "size of the vCard of one account (XEP-0054), its photo included; max_stanza_size bounds it too"},
}
