from __future__ import annotations

import numpy as np

from fervit.images.demo_faces import SIZE, draw_face
from fervit.labels.emotions import EMOTIONS


def test_the_same_seed_draws_the_same_face_and_another_draws_another() -> None:
    for emotion in EMOTIONS:
        first, again, other = (np.asarray(draw_face(emotion, np.random.default_rng(seed))) for seed in (1, 1, 2))
        assert first.shape == (SIZE, SIZE, 3)
        assert (first == again).all()
        assert (first != other).mean() > 0.5


def test_the_same_person_looks_different_with_each_emotion() -> None:
    faces = [np.asarray(draw_face(emotion, np.random.default_rng(3)), float) for emotion in EMOTIONS]
    for i, face in enumerate(faces):
        for other in faces[i + 1 :]:
            assert (np.abs(face - other).max(axis=2) > 25).mean() > 0.01  # a hundred pixels and more, plainly
