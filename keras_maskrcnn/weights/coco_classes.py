"""Names of COCO's categories (Lin et al. 2014), in the two ways that models number them."""

NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
N/A, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra,
giraffe, N/A, backpack, umbrella, N/A, N/A, handbag, tie, suitcase, frisbee, skis, snowboard,
sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, N/A,
wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, N/A, dining table, N/A, N/A, toilet,
N/A, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator,
N/A, book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""

# torchvision: class i is category i + 1, and ten ids between 1 and 90 are of no category.
NAMES_BY_ID = tuple(NAMES.replace("\n", " ").strip().split(", "))
# Detectron2: the 80 categories in the order of their ids.
CONTIGUOUS_NAMES = tuple(name for name in NAMES_BY_ID if name != "N/A")
