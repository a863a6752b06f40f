"""The main job on real photos, start to end: `kennel demo`."""
