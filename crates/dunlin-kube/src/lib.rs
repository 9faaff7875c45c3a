//! Kubernetes objects and the manifest directory, turned into facts.
