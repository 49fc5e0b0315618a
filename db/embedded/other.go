//go:build !linux && !darwin

package embedded

import (
	"context"
	"errors"
)

const port = "5432"

type guard struct{}

// Start is not available on this system: set DATABASE_URL.
func Start(context.Context, Config) (*Server, error) {
	return nil, errors.New("no embedded Postgres on this system: set DATABASE_URL to a Postgres that runs elsewhere")
}

// Stop does nothing on this system.
func (s *Server) Stop() error { return nil }
