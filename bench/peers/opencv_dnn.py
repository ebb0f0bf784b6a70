"""OpenCV's DNN module on the CPU, fusion and Winograd as they are by default."""

import cv2


class Engine:
    def __init__(self, load):
        cv2.setNumThreads(load.threads)
        self._net = cv2.dnn.readNetFromONNX(load.model)
        self._pictures = load.pictures()

    def run(self):
        self._net.setInput(self._pictures)
        return self._net.forward()
