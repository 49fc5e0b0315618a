// Package catalog is the one list of the apps that Tieline connects.
package catalog

import (
	"tieline/connectors"
	"tieline/connectors/scheduler"
	"tieline/connectors/stripe"
	"tieline/connectors/togai"
	"tieline/connectors/zohobooks"
	"tieline/connectors/zuora"
)

// New checks every descriptor: a bad one must show at start.
func New() (*connectors.Registry, error) {
	return connectors.NewRegistry(scheduler.Connector(), stripe.Connector(), togai.Connector(), zohobooks.Connector(), zuora.Connector())
}
