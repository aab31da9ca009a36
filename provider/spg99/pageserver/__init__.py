"""The pageserver: history in the object store. It archives WAL, makes and proves images, removes what nobody needs. Not here: who keeps WAL
until then (safekeeper/), how history lies in the store (archive/, images/), where its moments are laid out for a start (node/)."""
