// Judges images with a model that `slsg export` wrote for OpenVINO (.xml) or as ONNX (.onnx).
//
//     judge MODEL IMAGE...
//
// Prints a line for each image: its score, its verdict and how long the model took. The exit code is 0, or 2 after an
// error, which is one line on standard error.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <openvino/frontend/manager.hpp>
#include <openvino/runtime/core.hpp>

void check_file(const std::string& kind, const std::string& path) {
    if (!std::filesystem::is_regular_file(path)) {
        throw std::runtime_error("the " + kind + " '" + path + "' does not exist");
    }
}

// Reads an image as `slsg` does: three channels of 8 bits, upright. The README says what is not the same.
cv::Mat read_image(const std::string& path) {
    check_file("image", path);
    std::ifstream file(path, std::ios::binary);
    const std::vector<uchar> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const bool is_png = bytes.size() > 25 && bytes[1] == 'P' && bytes[2] == 'N' && bytes[3] == 'G';
    // of a PNG with colours of 16 bits, slsg takes the upper bytes, as OpenCV does by itself; it rounds others, as below
    const bool has_colours = is_png && bytes[25] != 0;
    const int flags = has_colours ? cv::IMREAD_COLOR : cv::IMREAD_COLOR | cv::IMREAD_ANYDEPTH;
    cv::Mat image = bytes.empty() ? cv::Mat() : cv::imdecode(bytes, flags);
    if (image.empty()) {
        throw std::runtime_error("'" + path + "' is truncated or not a readable image; repair or remove it");
    }
    if (image.depth() == CV_16U) {
        image.convertTo(image, CV_8U, 255.0 / 65535);
    }
    if (image.depth() != CV_8U) {
        throw std::runtime_error("'" + path + "' has neither 8 nor 16 bits; convert it");
    }
    return image;
}

// Models take images of any size, as planes of red, green and blue from 0 to 1, and resize them themselves.
ov::Tensor to_input(const cv::Mat& image) {
    const auto height = static_cast<std::size_t>(image.rows), width = static_cast<std::size_t>(image.cols);
    ov::Tensor input(ov::element::f32, {1, 3, height, width});
    float* red = input.data<float>();
    float *green = red + height * width, *blue = green + height * width;
    cv::Mat planes[] = {{image.size(), CV_32F, blue}, {image.size(), CV_32F, green}, {image.size(), CV_32F, red}};
    cv::Mat values;
    image.convertTo(values, CV_32F, 1.0 / 255);
    cv::split(values, planes);  // OpenCV's order is blue, green, red
    return input;
}

ov::CompiledModel load_model(const std::string& path) {
    check_file("model", path);
    const bool is_onnx = std::filesystem::path(path).extension() == ".onnx";
    // ONNX has no marks of what may not be rounded
    const ov::AnyMap settings = is_onnx ? ov::AnyMap{ov::hint::inference_precision(ov::element::f32)} : ov::AnyMap{};
    try {
        // Core::compile_model takes a path, too, but where that is no model, each of its readers complains
        ov::frontend::FrontEndManager readers;
        const auto reader = readers.load_by_framework(is_onnx ? "onnx" : "ir");
        ov::CompiledModel model = ov::Core().compile_model(reader->convert(reader->load(path)), "CPU", settings);
        model.output("pred_score"), model.output("pred_label");  // which fail where there are none
        return model;
    } catch (const ov::Exception&) {
        throw std::runtime_error("'" + path + "' is broken or no model that slsg export wrote (.xml, .onnx)");
    }
}

void judge(ov::InferRequest& request, const std::string& path) {
    request.set_input_tensor(to_input(read_image(path)));
    const auto start = std::chrono::steady_clock::now();
    request.infer();
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    const float score = *request.get_tensor("pred_score").data<float>();
    const bool anomalous = *request.get_tensor("pred_label").data<bool>();
    std::printf("%s: score %.6f, %s, %.1f ms\n", path.c_str(), score, anomalous ? "anomalous" : "normal", taken.count());
}

int fail(std::string message) {
    std::replace(message.begin(), message.end(), '\n', ' ');
    std::fprintf(stderr, "error: %s\n", message.c_str());
    return 2;
}

int main(int count, char** arguments) {
    if (count < 3) {
        return fail("usage: judge MODEL IMAGE...");
    }
    int code = 0;
    try {
        ov::InferRequest request = load_model(arguments[1]).create_infer_request();
        for (int index = 2; index < count; ++index) {
            try {
                judge(request, arguments[index]);
            } catch (const std::exception& error) {  // the others are judged all the same
                code = fail(error.what());
            }
        }
    } catch (const std::exception& error) {
        code = fail(error.what());
    }
    return code;
}
