"""What a folder must hold, what becomes of each picture, and the network's shape: python3 -m unittest tests."""
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measure import best_temperature  # noqa: E402

import net
from pictures import CLASS_PICTURES_MIN, Refused, load, prepared, read, split

SIZE = (12, 16)


class Folder(unittest.TestCase):
    def setUp(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder, self.rng = Path(made.name), np.random.default_rng(0)

    def picture(self, path: str, mode: str = "L", **options) -> Path:
        channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
        pixels = self.rng.integers(0, 256, (20, 30, *channels), dtype=np.uint8)
        (self.folder / path).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels, mode).save(self.folder / path, **options)
        return self.folder / path

    def fill(self, label: str, count: int = CLASS_PICTURES_MIN) -> None:
        for at in range(count):
            self.picture(f"{label}/{at}.png")

    def refused(self, path: Path) -> str:
        with self.assertRaises(Refused) as caught:
            load(path, SIZE, "grey")
        return str(caught.exception)

    def test_a_folder_is_read_and_each_class_is_held_out_alike(self):
        self.fill("ok", 40)
        self.fill("defect", 20)
        (self.folder / ".hidden").mkdir()
        pictures = read(self.folder, SIZE, "grey")
        self.assertEqual(pictures.labels, ("defect", "ok"))
        self.assertEqual(pictures.images.shape, (60, *SIZE, 1))
        learnt, held = split(pictures, 1)
        self.assertEqual((learnt.counts().tolist(), held.counts().tolist()), ([16, 32], [4, 8]))
        self.assertFalse(set(learnt.paths) & set(held.paths))

    def test_what_can_not_be_learnt_from_is_left_out_by_name(self):
        self.fill("ok")
        self.fill("defect")
        whole = (self.folder / "ok/0.png").read_bytes()
        (self.folder / "ok/cut.png").write_bytes(whole[: len(whole) // 2])
        (self.folder / "ok/notes.txt").write_text("none")
        (self.folder / "ok/again.png").write_bytes(whole)
        left_out = "\n".join(read(self.folder, SIZE, "grey").left_out)
        twin = "again.png shows the same as 0.png"
        for expected in ("cut.png is damaged: ", "notes.txt is no picture", twin):
            self.assertIn(expected, left_out)
        self.assertEqual(left_out.count("\n"), 2)

    def test_what_picket_decodes_otherwise_is_refused(self):
        self.assertEqual(self.refused(self.picture("a.gif")), "is GIF, which Picket does not decode")
        self.assertIn("is in mode RGBA: 8 bits", self.refused(self.picture("b.png", "RGBA")))
        self.assertIn("is transparent", self.refused(self.picture("c.png", transparency=7)))
        Image.fromarray(np.zeros((9, 9), np.uint16)).save(self.folder / "d.png")
        self.assertIn("is in mode I;16: 8 bits", self.refused(self.folder / "d.png"))

    def test_too_few_classes_and_too_few_pictures_are_refused(self):
        self.fill("ok")
        with self.assertRaisesRegex(Refused, "has 1 folders, one for each of two classes"):
            read(self.folder, SIZE, "grey")
        self.fill("defect", CLASS_PICTURES_MIN - 1)
        with self.assertRaisesRegex(Refused, "defect has 19 pictures, at least 20 are needed"):
            read(self.folder, SIZE, "grey")

    def test_one_picture_in_two_classes_is_refused(self):
        self.fill("ok")
        self.fill("defect")
        (self.folder / "ok/twin.png").write_bytes((self.folder / "defect/3.png").read_bytes())
        with self.assertRaisesRegex(Refused, "show the same, but are of two classes"):
            read(self.folder, SIZE, "grey")

    def test_pictures_are_turned_upright(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        path = self.picture("turned.png", exif=exif)
        stored = Image.open(path)
        upright = Image.fromarray(np.rot90(np.asarray(stored), -1))
        np.testing.assert_array_equal(load(path, SIZE, "grey"), prepared(upright, SIZE, "grey"))


class Shape(unittest.TestCase):
    def test_the_network_suits_every_size(self):
        for height, width in ((8, 8), (32, 32), (96, 96), (24, 512), (224, 160), (1024, 1024)):
            shape = net.shape(height, width, 1, 2)
            strides = np.prod([stride for _, stride in shape.layers])
            left = (-(-height // strides), -(-width // strides))
            self.assertTrue(min(left) >= net.SHORTER_LEFT, (height, width, left))
            ended = max(left) <= net.LONGER_LEFT or min(left) < 2 * net.SHORTER_LEFT
            self.assertTrue(ended, (height, width, left))
        self.assertEqual(round(net.macs(net.shape(96, 96, 1, 2)) / 1e6, 1), 22.6)


class Temperature(unittest.TestCase):
    def test_a_few_pictures_that_are_all_right_make_no_answer_certain(self):
        logits = np.array([[3.0, -3], [2, -1], [-4, 4], [-1, 2]])
        self.assertGreater(best_temperature(logits, logits.argmax(1), 1 / 6), 1)
        self.assertLess(best_temperature(logits, logits.argmax(1)), 0.1)


if __name__ == "__main__":
    unittest.main()
