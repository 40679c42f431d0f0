"""Experiment trackers that are shown the rounds: TensorBoard, MLflow.

Nothing is learned from them and nothing depends on them; see `server.tracking.tracker`.
"""
