# A bridge: CMakeLists.txt is the build description. For those who call node-gyp or prebuildify; npm does not.
{
  "targets": [
    {
      "target_name": "cmake",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "building with CMake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/always-ask-cmake"],
          "action": ["node", "scripts/build-native.mjs"]
        }
      ]
    }
  ]
}
