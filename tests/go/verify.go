// Command verify checks a log that Lodeline wrote with Go's own packages for transparency logs:
// golang.org/x/mod/sumdb/note for signatures, golang.org/x/mod/sumdb/tlog for trees and tiles.
//
//	verify folder DIR VKEY [EARLIER...]  every entry of a folder of tlog-tiles, a sample of inclusion
//	                                     proofs, and consistency with checkpoints kept earlier
//	verify proofs FILE VKEY              lines of proofs beside one checkpoint
//
// FILE for proofs: first the checkpoint (a signed note), then a line "---", then lines of
//
//	inclusion INDEX SIZE LEAF_HASH PATH        hashes in hexadecimal, a path joined by commas, or "-"
//	consistency SIZE_EARLIER ROOT_EARLIER PATH
//
// Exit status 0: everything verified; 1: something does not.
package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// open verifies the signature of a checkpoint and reads the tree in it.
func open(data []byte, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	// The format of C2SP checkpoints differs from that of Go's checksum database in its first line.
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("not a checkpoint of " + verifier.Name())
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + strings.Join(lines[1:3], "\n") + "\n"))
}

// tiles reads tiles where tlog-tiles has them: as Go, without the height in the path.
type tiles struct{ dir string }

func (t tiles) Height() int                     { return height }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) path(tile tlog.Tile) string {
	return filepath.Join(t.dir, strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(wanted))
	for i, tile := range wanted {
		data, err := os.ReadFile(t.path(tile))
		if err != nil {
			return nil, err
		}
		found[i] = data
	}
	return found, nil
}

// entries takes a bundle apart.
func entries(data []byte, count int) ([][]byte, error) {
	var found [][]byte
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, errors.New("bundle is cut off")
		}
		length := int(data[0])<<8 | int(data[1])
		if len(data) < 2+length {
			return nil, errors.New("bundle is cut off")
		}
		found = append(found, data[2:2+length])
		data = data[2+length:]
	}
	if len(found) != count {
		return nil, fmt.Errorf("bundle of %d entries, not %d", len(found), count)
	}
	return found, nil
}

func folder(dir, vkey string, earlier []string) error {
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := open(data, vkey)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	reader := tiles{dir}
	// Gives out hashes only after it has verified their tiles against the tree.
	hashes := tlog.TileHashReader(tree, reader)
	proofs := 0
	for first := int64(0); first < tree.N; first += 1 << height {
		width := tree.N - first
		if width > 1<<height {
			width = 1 << height
		}
		bundle := tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)}
		path := filepath.Join(dir, strings.Replace(bundle.Path(), "tile/8/data/", "tile/entries/", 1))
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found, err := entries(data, int(width))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		stored, err := hashes.ReadHashes(indexes)
		if err != nil {
			return fmt.Errorf("tiles above entry %d: %w", first, err)
		}
		for i, entry := range found {
			if tlog.RecordHash(entry) != stored[i] {
				return fmt.Errorf("entry %d is not the one in the tree", first+int64(i))
			}
		}
		index := first + (first>>height)%width
		proof, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return err
		}
		record := tlog.RecordHash(found[index-first])
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, record); err != nil {
			return fmt.Errorf("inclusion of %d: %w", index, err)
		}
		proofs++
	}
	for _, name := range earlier {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		old, err := open(data, vkey)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Printf("%d entries, %d inclusion proofs, %d consistency proofs\n", tree.N, proofs, len(earlier))
	return nil
}

func parseHash(text string) (tlog.Hash, error) {
	var hash tlog.Hash
	data, err := hex.DecodeString(text)
	if err != nil || len(data) != len(hash) {
		return hash, fmt.Errorf("%q is no hash", text)
	}
	copy(hash[:], data)
	return hash, nil
}

func parsePath(text string) ([]tlog.Hash, error) {
	if text == "-" {
		return nil, nil
	}
	var path []tlog.Hash
	for _, part := range strings.Split(text, ",") {
		hash, err := parseHash(part)
		if err != nil {
			return nil, err
		}
		path = append(path, hash)
	}
	return path, nil
}

func proofLine(line string, tree tlog.Tree) error {
	words := strings.Fields(line)
	if len(words) < 4 {
		return errors.New("not a proof")
	}
	path, err := parsePath(words[len(words)-1])
	if err != nil {
		return err
	}
	hash, err := parseHash(words[len(words)-2])
	if err != nil {
		return err
	}
	first, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return err
	}
	switch {
	case words[0] == "consistency" && len(words) == 4:
		return tlog.CheckTree(path, tree.N, tree.Hash, first, hash)
	case words[0] == "inclusion" && len(words) == 5:
		if words[2] != strconv.FormatInt(tree.N, 10) {
			return fmt.Errorf("a proof in the tree of %s, not %d", words[2], tree.N)
		}
		return tlog.CheckRecord(path, tree.N, tree.Hash, first, hash)
	}
	return errors.New("not a proof")
}

func proofs(name, vkey string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	parts := strings.SplitN(string(data), "\n---\n", 2)
	if len(parts) != 2 {
		return errors.New("no line --- after the checkpoint")
	}
	tree, err := open([]byte(parts[0]+"\n"), vkey)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(strings.TrimSuffix(parts[1], "\n"), "\n")
	for i, line := range lines {
		if err := proofLine(line, tree); err != nil {
			return fmt.Errorf("proof %d: %w", i+1, err)
		}
	}
	fmt.Printf("%d proofs\n", len(lines))
	return nil
}

func main() {
	var err error
	switch {
	case len(os.Args) >= 4 && os.Args[1] == "folder":
		err = folder(os.Args[2], os.Args[3], os.Args[4:])
	case len(os.Args) == 4 && os.Args[1] == "proofs":
		err = proofs(os.Args[2], os.Args[3])
	default:
		err = errors.New("usage: verify folder DIR VKEY [EARLIER...] | verify proofs FILE VKEY")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "not verified:", err)
		os.Exit(1)
	}
}
