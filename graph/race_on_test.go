//go:build race

package graph

const raced = true
