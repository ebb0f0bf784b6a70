#!/usr/bin/env python3
"""The operations of RandAugment as timm and Pillow compute them, for checking ours.

    python make.py PATH/TO/timm/data/auto_augment.py > augment.json

Each is done on a small picture of waves, with bilinear pixels between pixels and the ImageNet mean outside.
"""
import importlib.util
import json
import math
import random
import sys

import PIL
from PIL import Image

WIDTH, HEIGHT, FILL = 11, 9, (124, 116, 104)
NAMES = ["AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast",
         "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"]
HAVE_INCREASING = {"Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness"}


def picture():
    wave = lambda x, y, c: int(118 + 50 * math.sin(0.5 * x + c) + 45 * math.cos(0.7 * y - c) + (7 * x * y + 13 * c) % 11)
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.putdata([tuple(wave(i % WIDTH, i // WIDTH, c) for c in range(3)) for i in range(WIDTH * HEIGHT)])
    return image


def numbers(image):
    return dict(width=image.width, height=image.height, pixels=list(image.tobytes()))


def main():
    spec = importlib.util.spec_from_file_location("auto_augment", sys.argv[1])
    timm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(timm)
    image, cases = picture(), []
    for name in NAMES:
        for increasing in [False, True] if name in HAVE_INCREASING else [False]:
            key = name + "Increasing" if increasing else name
            for magnitude, sign in [(9.0, 1), (3.7, -1), (10.0, -1)]:
                # timm negates where the number is above a half.
                random.random = lambda: 0.1 if sign > 0 else 0.9
                argument = timm.LEVEL_TO_ARG[key](magnitude, {}) if timm.LEVEL_TO_ARG[key] else ()
                argument = argument if isinstance(argument, tuple) else (argument,)
                if name == "Posterize" and argument[0] == 0:
                    continue  # Pillow refuses to keep no bits at all.
                after = timm.NAME_TO_OP[key](image, *argument, fillcolor=FILL, resample=Image.Resampling.BILINEAR)
                cases.append(dict(operation=name, increasing=increasing, magnitude=magnitude, sign=sign,
                                  argument=argument[0] if argument else None, photo=numbers(after)))
    print(json.dumps(dict(pillow=PIL.__version__, photo=numbers(image), cases=cases), separators=(",", ":")))


main()
