package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tieline/connectors"
	"tieline/db"
)

// lacking says what the credentials of a link's connections may not do that the link needs, each permission once. What was
// found when they were last tried is enough to go on; before a link is refused they are tried again, as whoever has just
// granted a permission at the vendor comes here next.
func (e *Engine) lacking(ctx context.Context, link db.FlowLink, use bound) (Problems, error) {
	version, err := db.LinkVersion(ctx, e.DB, link)
	if err != nil {
		return nil, err
	}
	p, err := e.plan(ctx, e.DB, link.OrgID, version.ID)
	if err != nil {
		return nil, err
	}
	needs := p.roles()
	bad, err := use.lacks(needs)
	if err != nil || len(bad) == 0 {
		return nil, err
	}
	for id := range use.conns {
		// Where the vendor cannot be asked, what it said before counts.
		if fresh, err := e.TestConnection(ctx, link.OrgID, id, func(context.Context, db.Tx, db.ID) error { return nil }); err == nil {
			use.conns[id] = fresh
		}
	}
	if bad := use.broken(); len(bad) > 0 {
		return bad, nil
	}
	return use.lacks(needs)
}

// lacks goes by what is known of each connection.
func (b bound) lacks(needs map[string]string) (bad Problems, err error) {
	done := map[db.ID]bool{}
	for _, r := range b.roles {
		c := b.conns[r.ConnectionID]
		if done[c.ID] {
			continue
		}
		done[c.ID] = true
		var permissions []connectors.Permission
		if err := json.Unmarshal(c.Permissions, &permissions); err != nil {
			return nil, fmt.Errorf("reading the permissions of connection %s: %w", c.ID, err)
		}
		for _, p := range permissions {
			if p.State != connectors.Missing {
				continue
			}
			var users []string
			for _, r := range b.roles {
				if r.ConnectionID == c.ID && slices.Contains(p.NeedFor, needs[r.Step]) {
					users = append(users, fmt.Sprintf("%s (%s)", r.Step, needs[r.Step]))
				}
			}
			if len(users) > 0 {
				bad = append(bad, problem(CodeForbidden, fmt.Sprintf("The credentials of the connection %q lack the permission “%s” (%s), which the link needs for %s. %s",
					c.Name, p.Label, p.Key, strings.Join(users, " and "), p.Help), "id")...)
			}
		}
	}
	return bad, nil
}
