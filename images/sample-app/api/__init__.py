"""The sample app: sessions, deployments and documents with embeddings."""
